"""Ends what a program has started once that program is over, however it ended.

It is run as a script, and reads from the program the numbers of process groups: `+7` for one that
has begun, `-7` for one that is over. The end of its input is the end of the program.
"""

import contextlib
import os
import signal
import sys
import time

END_WITHIN_SECONDS = 4.0
LOOK_AGAIN_SECONDS = 0.05


def main() -> None:
    # Whatever ends the program's own group, such as Ctrl-C, comes to it first.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        number = int(line)
        if number > 0:
            groups.add(number)
        else:
            groups.discard(-number)
    end(groups)


def end(groups: set[int]) -> None:
    """Ask each group to end, those that are frozen too, and after a while kill what is left."""
    for group in groups:
        send(group, signal.SIGTERM)
        send(group, signal.SIGCONT)
    deadline = time.monotonic() + END_WITHIN_SECONDS
    while any(send(group, 0) for group in groups) and time.monotonic() < deadline:
        time.sleep(LOOK_AGAIN_SECONDS)
    for group in groups:
        send(group, signal.SIGKILL)


def send(group: int, signum: int) -> bool:
    """Send a signal to a process group, and say whether there was one."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # its number is another's by now
        os.killpg(group, signum)
        return True
    return False


if __name__ == "__main__":
    main()
