"""`python -m sandbox start | stop | during COMMAND | pooled COMMAND | cells | move CELL NODE`: what
the Makefile calls.

`start` runs the demo, `stop` ends a left-over PostgreSQL, and `during` has PostgreSQL running
while a command runs, ending it afterwards unless the demo uses it. `pooled` does so too, and leads
the command to it through a PgBouncer. The demo itself calls `watch`, which starts a PostgreSQL
that exited again. `cells` runs four cells on Citus, and `move` has one lie on another node. And
every program that uses PostgreSQL `end-unused`, in case it is killed.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from rocketrides.environment import LOCAL_DIR, configured_database_url
from sandbox import pgbouncer, postgres, start, supervisor, watching
from sandbox.cells.start import move, run_cells

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
            case ["cells"]:
                run_cells()
            case ["move", cell, node]:
                move(cell, node)
            case ["stop"]:
                postgres.stop(DATA_DIR)
            case ["watch"]:
                watching.watch(DATA_DIR)
            case ["during", *command] if command:
                supervisor.end_with_parent()
                with postgres_in_use():
                    raise SystemExit(run(command, os.environ))
            case ["end-unused", data_dir]:
                sys.stdin.read()  # until whoever used it is gone
                postgres.stop_unless_used(Path(data_dir))
            case ["pooled", *command] if command:
                with postgres.in_use(DATA_DIR), pgbouncer.running(DATA_DIR) as variables:
                    raise SystemExit(run(command, os.environ | variables))
            case _:
                raise SystemExit(__doc__)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def run(command: list[str], environment: Mapping[str, str]) -> int:
    """Run a command that ends with this process, and return its exit code."""
    end = supervisor.end_with_parent
    return subprocess.run(command, env=environment, check=False, preexec_fn=end).returncode  # noqa: S603


def postgres_in_use() -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if configured_database_url() else postgres.in_use(DATA_DIR)


main()
