"""The loop that every worker command shares, in one cell or in a thread for each of several.

It owns the signals (the first one: finish the batch in hand and leave; the second: leave now),
the sleep when there is nothing to do, the back-off while the database is away, and the one log
line for each batch. Once a minute it looks whether an old snapshot holds vacuum back. What a batch
is, the command says.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import FrameType

from django.db import DatabaseError, InterfaceError, OperationalError

from idempotency import doors
from idempotency.cells import in_cell
from idempotency.database import connection
from idempotency.database_errors import meets_other_tables
from idempotency.exceptions import LEAVING
from idempotency.signals import batch_ended
from idempotency.support.batches import Batch
from idempotency.support.described import described, described_traceback
from idempotency.transactions import drop_failed_connections_elsewhere
from idempotency.workers.snapshots import SnapshotWatch

logger = logging.getLogger(__name__)

LONGEST_BACK_OFF = timedelta(seconds=30)

TIME_TO_FINISH = timedelta(seconds=4)
"""How long the item in hand may take after the first signal."""

SLICE_SECONDS = 0.1
"""How soon a sleeping worker leaves after a signal."""


class Stop:
    """Whether a signal has asked this process to leave. A bare flag, since what a handler may do is
    little: an Event's lock could be held by the very code that the signal interrupted.
    """

    asked = False


def should_stop() -> bool:
    """Say whether to take nothing more, since a signal asked to leave or the doors were closed.

    Long batches look between their items.
    """
    return Stop.asked or doors.are_closed()


def run_worker(name: str, run_batch: Callable[[], Batch], *, pause: timedelta) -> None:
    """Run batches until a signal says to stop.

    Args:
        pause: how long to sleep after a batch that was not full.
    """
    _install_signal_handlers()
    _work(name, run_batch, pause)
    # An alarm that is still set would end the interpreter on its way out, with an error.
    signal.setitimer(signal.ITIMER_REAL, 0)


def run_worker_in_cells(
    name: str, batches: Mapping[str, Callable[[], Batch]], *, pause: timedelta
) -> None:
    """The same in several cells, each in a thread of its own: one that is away, or has much to do,
    keeps no other waiting.

    Args:
        batches: what a batch is in each cell.

    Raises: `SystemExit` where a thread ended by itself, since a supervisor starts all of it again.
    """
    _install_signal_handlers()
    threads = [
        threading.Thread(
            target=_work_in, args=[cell, name, run_batch, pause], name=f"{name} {cell}"
        )
        for cell, run_batch in batches.items()
    ]
    for thread in threads:
        thread.start()
    while not Stop.asked and all(thread.is_alive() for thread in threads):
        time.sleep(SLICE_SECONDS)
    was_asked, Stop.asked = Stop.asked, True
    for thread in threads:
        thread.join()
    signal.setitimer(signal.ITIMER_REAL, 0)
    if not was_asked:
        raise SystemExit(f"{name}: a thread has ended, and all with it")


def _work_in(cell: str, name: str, run_batch: Callable[[], Batch], pause: timedelta) -> None:
    with in_cell(cell):
        _work(name, run_batch, pause)


def _work(name: str, run_batch: Callable[[], Batch], pause: timedelta) -> None:
    logger.info("%s: started", name)
    snapshots = SnapshotWatch()
    failures = 0
    while not Stop.asked:
        try:
            drop_failed_connections_elsewhere()
            snapshots.look()
            batch = run_batch()
            refuse_server_that_only_reads()
        except LEAVING:
            raise
        except BaseException as error:
            # The batch was rolled back, so nothing is lost: it is tried again after a while.
            failures += 1
            _wait_out(name, error, failures)
            continue
        failures = 0
        batch_ended.send_robust(None, worker=name, batch=batch)
        if batch.did_something:
            logger.info("%s: %s", name, batch.logged)
        if not batch.is_full:
            _sleep(pause.total_seconds())
    logger.info("%s: stopped", name)


def refuse_server_that_only_reads() -> None:
    """Raises: `OperationalError` where the server of this connection has become read-only.

    The server reports that to each client (from PostgreSQL 14 on): no statement is needed.

    A worker whose look is a SELECT would go on there after a switchover, and find nothing for ever.
    """
    if connection.connection is None:
        return
    told = connection.connection.info.parameter_status
    if "on" in (told("default_transaction_read_only"), told("in_hot_standby")):
        raise OperationalError("the server of this connection is read-only")


def _wait_out(name: str, error: BaseException, failures: int) -> None:
    """Usually the database is away: the connection is given up, the next batch opens a new one. Or
    the broker is. Anything else is a bug, and is logged as one.
    """
    connection.close()
    back_off = min(2.0 ** (failures - 1), LONGEST_BACK_OFF.total_seconds())
    is_a_bug = not isinstance(error, DatabaseError | InterfaceError | OSError)
    said = described_traceback(error) if is_a_bug else described(error)
    if meets_other_tables(error):
        said = f"the database lacks migrations of this code (manage.py migrate): {said}"
    logger.warning("%s: batch failed, next in %.0f s: error=%s", name, back_off, said)
    _sleep(back_off)


def _sleep(seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    while not Stop.asked and (left := ends_at - time.monotonic()) > 0:
        time.sleep(min(left, SLICE_SECONDS))


def _install_signal_handlers() -> None:
    Stop.asked = False
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, _ask_to_stop)


def _ask_to_stop(number: int, frame: FrameType | None) -> None:
    """The first signal lets the item in hand finish, within limits. What is abandoned then is what
    a crash would leave: a lease that runs out, a transaction that is rolled back.
    """
    if Stop.asked:
        logging.shutdown()
        os._exit(128 + number)  # at once, without waiting for threads that wait for others
    Stop.asked = True
    signal.setitimer(signal.ITIMER_REAL, TIME_TO_FINISH.total_seconds())
