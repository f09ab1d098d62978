"""`python -m sandbox start | stop | during COMMAND | pooled COMMAND`: what the Makefile calls.

`start` runs the demo, `stop` ends a left-over PostgreSQL, and `during` has PostgreSQL running
while a command runs, ending it afterwards unless the demo uses it. `pooled` does so too, and leads
the command to it through a PgBouncer. The demo itself calls `watch`, which starts a PostgreSQL that
died again.
"""

import contextlib
import os
import signal
import subprocess
import sys

from rocketrides.environment import LOCAL_DIR, configured_database_url
from sandbox import pgbouncer, postgres, start, watching

DATA_DIR = LOCAL_DIR / "postgres"


def main() -> None:
    # Ctrl-C, kill(1) and a closed terminal alike are to run the end of each block below.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, start.interrupt)
    try:
        match sys.argv[1:]:
            case ["start"]:
                with postgres_in_use():
                    start.run_demo()
            case ["stop"]:
                postgres.stop(DATA_DIR)
            case ["watch"]:
                watching.watch(DATA_DIR)
            case ["during", *command] if command:
                with postgres_in_use():
                    raise SystemExit(subprocess.run(command, check=False).returncode)  # noqa: S603
            case ["pooled", *command] if command:
                with postgres.in_use(DATA_DIR), pgbouncer.running(DATA_DIR) as variables:
                    environment = os.environ | variables
                    completed = subprocess.run(command, env=environment, check=False)  # noqa: S603
                    raise SystemExit(completed.returncode)
            case _:
                raise SystemExit(__doc__)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def postgres_in_use() -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if configured_database_url() else postgres.in_use(DATA_DIR)


main()
