"""The doors: one switch by which every process of the service does nothing.

For the time after a restore or a failover, until what the database lost is settled. The switch is
a row, which a thread of each process reads once a second: a request costs no statement for it. What
is in hand when the doors close is finished.
"""

import logging
import os
import threading
import time
from dataclasses import dataclass
from datetime import timedelta

from django.db import Error, OperationalError
from django.db.models.functions import Now

from idempotency import conf
from idempotency.cells import in_cell
from idempotency.database import connection
from idempotency.exceptions import DoorsClosed
from idempotency.models import FINISHED, Doors, IdempotencyKey
from idempotency.support.context import IN_CELL
from idempotency.transactions import drop_broken_connection

logger = logging.getLogger(__name__)

READ_EVERY = timedelta(seconds=1)

FIRST_READING_SECONDS = 5
"""How long the first who asks waits for an answer. Later ones are told what was read last."""

RETRY_AFTER_SECONDS = 30

# A session that cannot write leads to a server that is none of the service's any more, or not yet:
# what it says of the doors does not count.
READ_DOORS = """
SELECT current_setting('transaction_read_only') = 'on', doors.id IS NOT NULL, doors.reason
  FROM (SELECT 1) AS always LEFT JOIN idempotency_doors AS doors ON true
"""


# The server's own no (25006), by which the session leaves its pool with all that are as old.
REFUSED_WHERE_NOTHING_IS_WRITTEN = "SELECT FROM idempotency_doors FOR UPDATE"


@dataclass(frozen=True, slots=True)
class Reading:
    """What the row said."""

    are_closed: bool
    reason: str = ""


class Watch(threading.Thread):
    """Reads the row again and again. Where it cannot be read, the last reading stays."""

    def __init__(self) -> None:
        super().__init__(name="doors", daemon=True)
        self.cell = IN_CELL.get()
        self.has_looked = threading.Event()
        self.last: Reading | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        with in_cell(self.cell):
            while True:
                self.look()
                self.has_looked.set()
                time.sleep(READ_EVERY.total_seconds())

    def look(self) -> None:
        try:
            reading = read()
        except Exception as error:
            # Whatever it was, the next look may succeed, and this thread must live to take it.
            self.error = error
            return
        _tell_change(self.last, reading)
        self.last = reading


def read() -> Reading:
    """Read the row. Raises: what the database does, where the session cannot write as well."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(READ_DOORS)
            is_read_only, are_closed, reason = cursor.fetchone()
            if is_read_only:
                cursor.execute(REFUSED_WHERE_NOTHING_IS_WRITTEN)
    except Error as error:
        drop_broken_connection(error)
        raise
    finally:
        # Each time, so that a process has no session more than it works with, and none that leads
        # to the primary of yesterday. Where there is a pool, it goes back to that.
        connection.close()
    return Reading(are_closed, reason or "")


def as_last_read() -> Reading:
    """What this process knows of the doors, without a statement.

    Raises: `OperationalError` where the row could not be read since the process started: a process
    that does not know takes no requests.
    """
    watch = _watch()
    watch.has_looked.wait(FIRST_READING_SECONDS)
    if watch.last is None:
        watch.look()  # at once: the database may be back since the thread looked
    if watch.last is None:
        raise OperationalError(f"The doors could not be read: {watch.error}") from watch.error
    return watch.last


def are_closed() -> bool:
    """Whether this process should do nothing. Raises: as `as_last_read` does."""
    return as_last_read().are_closed


def refuse_while_closed() -> None:
    """Raises: `DoorsClosed`, or as `as_last_read` does."""
    if are_closed():
        raise DoorsClosed(
            "The service is closed for the moment. Nothing was done. "
            "Retry later with the same Idempotency-Key.",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )


# What the command does.


def close(reason: str) -> None:
    """Close the doors, or give closed ones another reason."""
    Doors.objects.update_or_create(id=1, defaults={"reason": reason})


def open_again() -> None:
    Doors.objects.all().delete()


def requests_in_hand() -> int:
    """How many requests somebody is working on: keys whose lease is live."""
    leased = IdempotencyKey.objects.exclude(recovery_point=FINISHED)
    return leased.filter(locked_at__gt=Now() - conf.current().lock_timeout).count()


# The process's own watches, one in each cell that it works in. A thread does not outlive a fork, so
# a child has its own.

_own: dict[str, Watch] = {}
_starting = threading.Lock()


def _watch() -> Watch:
    cell = IN_CELL.get()
    if cell not in _own:
        with _starting:
            if cell not in _own:
                watch = Watch()
                watch.start()
                _own[cell] = watch
    return _own[cell]


def _forget_parents_watch() -> None:
    global _own, _starting
    _own, _starting = {}, threading.Lock()


os.register_at_fork(after_in_child=_forget_parents_watch)


def _tell_change(before: Reading | None, after: Reading) -> None:
    if after.are_closed and not (before and before.are_closed):
        logger.warning("doors closed: nothing is begun any more: reason=%r", after.reason)
    elif before and before.are_closed and not after.are_closed:
        logger.warning("doors open")
