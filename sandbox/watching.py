"""Watching the embedded PostgreSQL while the demo runs: a server that exited is started again.

In a process of its own beside the demo's others. The server is none of them, so that it can be used
by another program when the demo ends.
"""

import sys
import time
from pathlib import Path

from sandbox import postgres

LOOK_EVERY_SECONDS = 1


def watch(data_dir: Path) -> None:
    """Start the server again whenever it is gone, until a signal ends this process.

    Raises: PostgresUnavailable, when it does not start.
    """
    while True:
        time.sleep(LOOK_EVERY_SECONDS)
        if postgres.server_process(data_dir) is None:
            sys.stdout.write("PostgreSQL has exited; it is started again\n")
            sys.stdout.flush()
            with postgres.signals_put_off():
                postgres.database_url(data_dir)
