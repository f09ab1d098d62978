"""A process's pulse: a thread that tells the database every ten seconds what was counted, and that
the process is there.

It has a session only while it speaks, as the doors have.
"""

import atexit
import importlib.metadata
import logging
import os
import socket
import threading
import time
from typing import Any

from django.db import Error

from idempotency import conf
from idempotency.cells import in_cell
from idempotency.database import connection
from idempotency.support.context import IN_CELL
from idempotency.support.described import described
from idempotency.transactions import drop_broken_connection
from idempotency.watching import counts
from idempotency.watching.rollups import add_to_rollup, remove_old_rollups

logger = logging.getLogger(__name__)

REMOVE_EVERY_SECONDS = 3600
END_WITHIN_SECONDS = 2.0

BEAT = """
INSERT INTO idempotency_heartbeat AS heartbeat
       (worker, host, pid, version, last_batch, last_batch_at)
SELECT %(worker)s, %(host)s, %(pid)s, %(version)s, %(last_batch)s,
       statement_timestamp() - %(seconds_ago)s * INTERVAL '1 second'
    ON CONFLICT (worker, host, pid) DO UPDATE
   SET seen_at       = EXCLUDED.seen_at,
       version       = EXCLUDED.version,
       last_batch    = EXCLUDED.last_batch,
       last_batch_at = EXCLUDED.last_batch_at
"""

END = """
DELETE FROM idempotency_heartbeat
 WHERE (worker = %(worker)s AND host = %(host)s AND pid = %(pid)s)
    OR seen_at < statement_timestamp() - INTERVAL '1 day'
"""

# Of those that were killed, and have no successor of their host's name and pid.
REMOVE_OLD_BEATS = """
DELETE FROM idempotency_heartbeat WHERE seen_at < statement_timestamp() - INTERVAL '1 day'
"""


class Pulse(threading.Thread):
    """The thread, and what the process last did."""

    def __init__(self, worker: str) -> None:
        super().__init__(name="pulse", daemon=True)
        self.worker = worker
        self.cell = IN_CELL.get()
        self.last_batch = ""
        self._last_batch_at = time.monotonic()
        self._removed_at = time.monotonic()
        self._ending = threading.Event()

    def note_batch(self, said: str) -> None:
        self.last_batch = said or self.last_batch
        self._last_batch_at = time.monotonic()

    def run(self) -> None:
        every = conf.current().pulse
        with in_cell(self.cell):
            while every:
                self.beat()  # first, so that one that was restarted is not missed
                if self._ending.wait(every.total_seconds()):
                    return

    def beat(self) -> None:
        """Tell the database; where it can't be told, the next beat tells all."""
        taken = counts.COUNTS.take()
        try:
            add_to_rollup(taken)
            taken = {}
            self._execute(BEAT)
            if time.monotonic() - self._removed_at > REMOVE_EVERY_SECONDS:
                self._removed_at = time.monotonic()
                remove_old_rollups()
                self._execute(REMOVE_OLD_BEATS)
        except Exception as error:  # whatever it was, the thread lives on
            counts.COUNTS.put_back(taken)
            if isinstance(error, Error):
                drop_broken_connection(error)
            logger.info("not told what was counted: error=%s", described(error))
        finally:
            connection.close()

    def end(self) -> None:
        """Tell the last of it, and that the process is gone."""
        self._ending.set()
        if self.is_alive():
            self.join(END_WITHIN_SECONDS)  # or its last beat would come after this end
        with in_cell(self.cell):
            self.beat()
            try:
                self._execute(END)
            except Error as error:
                logger.info("a heartbeat was not ended: error=%s", described(error))
            finally:
                connection.close()

    def _execute(self, statement: str) -> None:
        values = {
            "worker": self.worker,
            "host": socket.gethostname()[:255],
            "pid": os.getpid(),
            "version": version(),
            "last_batch": self.last_batch,
            "seconds_ago": round(time.monotonic() - self._last_batch_at, 3),
        }
        with connection.cursor() as cursor:
            cursor.execute(statement, values)


def version() -> str:
    """Return the version of what runs: the project's, where it says it, or the app's."""
    return conf.current().version or _version_of_the_app()


def _version_of_the_app() -> str:
    try:
        return importlib.metadata.version("django-idempotency")
    except importlib.metadata.PackageNotFoundError:
        return ""


# The process's own, one in each cell. A thread does not outlive a fork, so a child has its own.

is_on = True
"""Off in a run of tests, whose tables a thread would write to behind their backs."""

_own: dict[str, Pulse] = {}
_starting = threading.Lock()


def pulse_of(worker: str) -> Pulse | None:
    """Return the process's pulse, begun as `worker`'s where there is none yet; None where `PULSE`
    is None.
    """
    cell = IN_CELL.get()
    if cell not in _own and is_on and conf.current().pulse:
        with _starting:
            if cell not in _own:
                pulse = Pulse(worker)
                pulse.start()
                atexit.register(pulse.end)
                _own[cell] = pulse
    return _own.get(cell)


def _forget_parents_pulse() -> None:
    global _own, _starting
    for pulse in _own.values():
        atexit.unregister(pulse.end)
    _own, _starting = {}, threading.Lock()


os.register_at_fork(after_in_child=_forget_parents_pulse)


# Receivers of the signals.


def feel_answer(*, source: str, **_: Any) -> None:
    if source == "client":
        pulse_of("api")


def feel_batch(*, worker: str, batch: Any, **_: Any) -> None:
    if pulse := pulse_of(worker):
        pulse.note_batch(batch.logged if batch.did_something else "")


def feel_job(*, job_name: str, outcome: str, **_: Any) -> None:
    if pulse := pulse_of("worker"):
        pulse.note_batch(f"{job_name}: {outcome}")
