"""The loop that every worker command shares.

It owns the signals (the first one: finish the batch in hand and leave; the second: leave now),
the sleep when there is nothing to do, the back-off while the database is away, and the one log
line for each batch. What a batch is, the command says.
"""

import logging
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType

from django.db import DatabaseError, InterfaceError, connection

logger = logging.getLogger(__name__)

LONGEST_BACK_OFF = timedelta(seconds=30)

_stop = threading.Event()


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch did: `summary` is its log line, `is_full` says that there may be more."""

    summary: str
    did_something: bool
    is_full: bool


def should_stop() -> bool:
    """Whether a signal asked this process to leave. Long batches look between their items."""
    return _stop.is_set()


def run_worker(name: str, run_batch: Callable[[], Batch], *, pause: timedelta) -> None:
    """Runs batches until a signal says to stop.

    Args:
        pause: how long to sleep after a batch that was not full.
    """
    _install_signal_handlers()
    logger.info("%s: started", name)
    failures = 0
    while not should_stop():
        try:
            batch = run_batch()
        except (DatabaseError, InterfaceError) as error:
            failures += 1
            _wait_out(name, error, failures)
            continue
        failures = 0
        if batch.did_something:
            logger.info("%s: %s", name, batch.summary)
        if not batch.is_full:
            _stop.wait(pause.total_seconds())
    logger.info("%s: stopped", name)


def _wait_out(name: str, error: Exception, failures: int) -> None:
    """The database is away, or refuses: the connection is given up, the next batch opens one."""
    connection.close()
    back_off = min(2.0 ** (failures - 1), LONGEST_BACK_OFF.total_seconds())
    logger.warning("%s: batch failed, next in %.0f s: error=%r", name, back_off, error)
    _stop.wait(back_off)


def _install_signal_handlers() -> None:
    _stop.clear()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ask_to_stop)


def _ask_to_stop(number: int, frame: FrameType | None) -> None:
    if _stop.is_set():
        raise SystemExit(128 + number)
    _stop.set()
