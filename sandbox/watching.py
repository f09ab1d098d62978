"""Looking after the embedded PostgreSQL while the demo runs: a server that died is started again.

In a process of its own beside the demo's others, of which the server is none: it belongs to nobody,
so that it outlives whoever started it.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from sandbox import postgres

LOOK_EVERY_SECONDS = 1
ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def watch(data_dir: Path) -> None:
    """Start the server again whenever it is gone, until a signal ends this process.

    Raises: PostgresUnavailable, when it does not come up.
    """
    while True:
        time.sleep(LOOK_EVERY_SECONDS)
        if postgres.server_process(data_dir) is None:
            sys.stdout.write("PostgreSQL has died; it is started again\n")
            sys.stdout.flush()
            with signals_put_off():
                postgres.database_url(data_dir)


@contextlib.contextmanager
def signals_put_off() -> Iterator[None]:
    """Put off the end of this process, so that it leaves no server half started."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
