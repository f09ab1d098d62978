"""The ways to fail at a boundary, each as close to the real thing as a test can come.

Some leave the process alive, and it has to clean up; from the others nothing of it remains but
what the database and the foreign system have.
"""

import os
import signal
import socket
from collections.abc import Callable
from enum import StrEnum
from threading import Thread

from django.db import connections

from idempotency import stopping
from idempotency.database import connection
from idempotency.exceptions import Indeterminate
from idempotency.testing.boundaries import Boundary, Kind, Moment

HOSTILE_WORDS = "\x00 \x1b[2J \u202e \ud800 " + "é" * 500_000
"""A NUL, what clears a terminal, what turns a line around, half of a pair, and a megabyte."""


class Fault(StrEnum):
    """What happens at a boundary."""

    NONE = "no fault"
    RAISE = "exception"
    DISCONNECT = "lost connection"
    ABORT = "abort"
    KILL = "kill -9"
    FREEZE = "freeze"
    DUPLICATE = "duplicate"
    HOSTILE = "hostile words"
    STOP = "abandoned at a stop"

    @property
    def needs_process(self) -> bool:
        """Whether the attempt runs in a process of its own, since it does not survive."""
        return self in (Fault.KILL, Fault.FREEZE)

    def can_strike(self, boundary: Boundary) -> bool:
        if self is Fault.NONE:
            return False
        if self is Fault.HOSTILE:
            return boundary.kind is Kind.FOREIGN and boundary.moment is not Moment.APPLIED
        return self is not Fault.DISCONNECT or boundary.kind is not Kind.FOREIGN


class Mishap(Exception):
    """An error at a moment that nobody foresaw, as the handler of a time limit raises it."""


class Aborted(SystemExit):
    """The process is told to leave, in the middle of anything."""


def raise_mishap(boundary: Boundary) -> None:
    # Where the answer was lost, that is the error, and the attempt has it already.
    if boundary.moment is not Moment.APPLIED:
        raise Mishap(str(boundary))


def say_anything(boundary: Boundary) -> None:
    """The foreign system answers in words that no column, log or terminal should get as they are:
    its author's code passes them on, as an outcome that is not known.
    """
    raise Indeterminate(HOSTILE_WORDS)


def abort(boundary: Boundary) -> None:
    raise Aborted(str(boundary))


def disconnect(boundary: Boundary) -> None:
    """Break the socket to the database. What comes next on it fails, with the driver's own error;
    after a step that is a statement here, since its answer has been read.
    """
    with socket.socket(fileno=os.dup(connection.connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
    if boundary.moment is Moment.AFTER:
        with connection.wrap_database_errors:
            connection.connection.cursor().execute("SELECT 1")


def kill(boundary: Boundary) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def freeze(boundary: Boundary) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def stop(boundary: Boundary) -> None:
    """The server that the attempt runs in stops and can wait no longer: it lets the key go, where
    it may, from another thread, and the attempt runs on for as long as the process lives.
    """
    stopper = Thread(target=_abandon)
    stopper.start()
    stopper.join()


def _abandon() -> None:
    try:
        stopping.abandon()
    finally:
        connections.close_all()


STRIKES: dict[Fault, Callable[[Boundary], None]] = {
    Fault.RAISE: raise_mishap,
    Fault.HOSTILE: say_anything,
    Fault.DISCONNECT: disconnect,
    Fault.ABORT: abort,
    Fault.KILL: kill,
    Fault.FREEZE: freeze,
    Fault.STOP: stop,
    # DUPLICATE strikes with a client of its own: see `duplicates`.
}
