"""Which processor core a process runs on: `PIN_WORKERS`.

Python runs one thread of a process at a time. Spread over the cores, its threads wake each other
from one core to the next and find nothing of theirs in its caches, which took a sixth of the
machine (docs/performance.md).
"""

import contextlib
import os
import socket

from rocketrides.environment import boolean

_claims: list[socket.socket] = []


def keep_to_one_core_if_asked() -> None:
    """Do what `PIN_WORKERS` says, before any thread is started: a thread inherits the core."""
    if boolean("PIN_WORKERS", default=False):
        keep_to_one_core()


def keep_to_one_core() -> None:
    """Bind this process to a core that no other process of the same parent has taken.

    Where every core is taken, or the system knows no such binding, nothing changes.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    for core in sorted(os.sched_getaffinity(0)):
        if _claim(core):
            with contextlib.suppress(OSError):  # some containers forbid it
                os.sched_setaffinity(0, {core})
            return


def _claim(core: int) -> bool:
    # An abstract address, of which the kernel gives only one, and takes it back when its owner
    # dies: whoever comes after a killed process gets that one's core.
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0rocketrides-core-{os.getppid()}-{core}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    return True
