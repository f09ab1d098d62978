"""How the service stands, for those who must not wait for the database: `/metrics` and `/readyz`.

One thread of a process reads at a time, whoever asks. So a database that hangs has one thread and
one connection of it, and none of those that answer requests.
"""

import logging
import os
import threading
import time
from collections.abc import Sequence

from django.db import Error

from idempotency.database import connection
from idempotency.support.described import described
from idempotency.transactions import drop_broken_connection
from idempotency.watching.standing import Standing, standing

PATIENCE_SECONDS = 2.0
"""How long a scrape waits for a reading: Prometheus gives up after ten seconds by default."""

READ_AGAIN_SECONDS = 60.0
"""How old alarms may be. A reading is six statements, and `/readyz` may be asked twice a second."""

logger = logging.getLogger(__name__)


class Reading(threading.Thread):
    """One look at the database."""

    def __init__(self) -> None:
        super().__init__(name="reading", daemon=True)
        self.began_at = time.monotonic()
        self.found: Standing | None = None
        self.has_ended = threading.Event()

    def run(self) -> None:
        try:
            self.found = standing()
        except Exception as error:  # whatever it was, nothing was found, and the next one looks
            if isinstance(error, Error):
                drop_broken_connection(error)
            logger.info("not read how the service stands: error=%s", described(error))
        finally:
            connection.close()
            self.has_ended.set()

    @property
    def is_old(self) -> bool:
        return time.monotonic() - self.began_at > READ_AGAIN_SECONDS


class Readings:
    """The reading in hand, and the one before it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: Reading | None = None
        self._ended: Reading | None = None

    def begin(self) -> Reading:
        """Return the reading in hand, or begin one."""
        with self._lock:
            if self._last is None or self._last.has_ended.is_set():
                self._ended, self._last = self._last, Reading()
                self._last.start()
            return self._last

    def ended(self) -> Reading | None:
        """Return the last one that has ended."""
        last = self._last
        return last if last and last.has_ended.is_set() else self._ended


READINGS = Readings()


def _begin_in_the_child() -> None:
    global READINGS
    READINGS = Readings()  # the parent's thread is not in the child, and would be awaited for ever


os.register_at_fork(after_in_child=_begin_in_the_child)


def read_standing() -> Standing | None:
    """Return how the service stands, or None where the database does not say so in time."""
    reading = READINGS.begin()
    reading.has_ended.wait(PATIENCE_SECONDS)
    return reading.found


def latest_alarms() -> Sequence[str]:
    """Return in words what somebody should look at, as of the last minute or so.

    For `READINESS_WARNINGS`. Nobody waits for it, so the first answer of a process has none.
    """
    ended = READINGS.ended()
    if ended is None or ended.is_old:
        READINGS.begin()
    return ended.found.alarms if ended and ended.found else []
