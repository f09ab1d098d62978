"""Real processes of the worker commands, without the half second that each takes to start up.

One process does the start-up and forks a child for each line that it reads, so that a test can
kill them by the hundred. Run as a program it is that process; `Nursery` is the test's end of it.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from rocketrides.environment import BASE_DIR


class Nursery:
    """Starts commands, and knows which of them run."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.running: set[int] = set()

    def start(self, command: str) -> int:
        """Start `manage.py command` and return its process id."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        self.running.add(pid)
        return pid

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.running.discard(pid)

    def whose_is(self, port: int) -> int:
        """Return the id of the child at whose end a connection has this port."""
        for pid in self.running:
            if any(found.laddr.port == port for found in psutil.Process(pid).net_connections()):
                return pid
        raise AssertionError(f"no child of the nursery is connected from port {port}")


@contextlib.contextmanager
def running_nursery(environment: dict[str, str], log: Path) -> Iterator[Nursery]:
    """A nursery whose children all end with the block; their log lines go to `log`."""
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=BASE_DIR,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield Nursery(process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    import django

    django.setup()

    from django.core.management import call_command

    import rides.tasks  # noqa: F401 - what each child would otherwise import

    if "CELERY_BROKER_URL" in os.environ:
        import idempotency.broker  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if pid := os.fork():
            sys.stdout.write(f"{pid}\n")
            sys.stdout.flush()
        else:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            call_command(line.strip(), skip_checks=True)
            os._exit(0)
    # The test is gone, however it ended: so are its processes.
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
