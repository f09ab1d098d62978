"""A real process that makes one attempt, and dies or stops in the middle of it.

It is forked, so it has the test's settings, patches and URLs, and a start costs milliseconds. Its
connections are its own: the parent closes those to the database first.
"""

import os
import pickle
import signal
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import connections

PATIENCE_SECONDS = 30.0
LOOK_AGAIN_SECONDS = 0.001


class ProcessHung(AssertionError):
    """A forked process did neither end nor stop in time; it has been killed."""


@dataclass(frozen=True, slots=True)
class Forked:
    """A child, and the pipe by which it says what it got."""

    pid: int
    pipe: int

    def wait(self) -> int:
        """Wait until the child ends or stops; its wait status, for `os.WIFSTOPPED` and such."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            if pid:
                return status
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise ProcessHung(f"after {PATIENCE_SECONDS} s")
            time.sleep(LOOK_AGAIN_SECONDS)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End a child that has stopped, and of which nobody wants to hear any more."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.pipe)

    def result(self) -> Any:
        """What the child's work returned, once it has ended. None where it did not get so far."""
        with os.fdopen(self.pipe, "rb") as reader:
            said = reader.read()
        return pickle.loads(said) if said else None  # noqa: S301 - our own child said it


def fork(work: Callable[[], Any], *, after_fork: Callable[[], None]) -> Forked:
    """Run `work` in a child.

    Args:
        after_fork: called first in the child, to give up what it must not share with its parent.
    """
    connections.close_all()
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Python warns of threads, whose locks a child would find taken for ever. Those here are
        # servers of the tests, and the child talks to them over sockets only.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _be_the_child(work, after_fork, writer)
    os.close(writer)
    return Forked(pid, reader)


def _be_the_child(work: Callable[[], Any], after_fork: Callable[[], None], writer: int) -> None:
    """Never returns, and runs nothing of the parent's clean-up: the test goes on there."""
    status = 1
    try:
        after_fork()
        os.write(writer, pickle.dumps(work()))
        status = 0
    finally:
        os._exit(status)
