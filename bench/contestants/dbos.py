"""The same ride on DBOS Transact, durable workflows in PostgreSQL (`service/on_dbos.py`).

It has an interpreter of its own, which `make bench` installs.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench import database
from bench.contestants.http import OverHTTP
from bench.processes import environment, serving
from bench.world import TEMPLATE, Missing, Server, World
from rocketrides.environment import BASE_DIR

DATABASE = "rocketrides_bench_dbos"
PYTHON = Path(os.environ.get("VENV_DBOS", BASE_DIR / ".venv-dbos")) / "bin" / "python"
COMMAND = (
    f"exec {PYTHON} -m uvicorn bench.service.on_dbos:app --host 127.0.0.1 --port $PORT"
    " --workers 2 --no-access-log --log-level warning"
)


def as_documented(world: World) -> AbstractContextManager[Server]:
    """Raises: Missing."""
    return _dbos(world, DATABASE, pinned=False)


def pinned(world: World) -> AbstractContextManager[Server]:
    """Each of its processes on a core of its own, as `ours-pinned` has it. Raises: Missing."""
    return _dbos(world, f"{DATABASE}_pinned", pinned=True)


@contextmanager
def _dbos(world: World, name: str, *, pinned: bool) -> Iterator[Server]:
    if not PYTHON.exists():
        raise Missing("DBOS has no interpreter here; `make bench` installs it")
    with database.created(name, template=TEMPLATE) as url:
        variables = environment(url, world.stand_in) | {"PIN_WORKERS": str(pinned).lower()}
        with serving(["sh", "-c", COMMAND], variables) as (address, process):
            yield Server(name, address, process)


DBOS = OverHTTP(
    name="dbos", title="DBOS Transact on FastAPI", starting=as_documented, path="/rides"
)
DBOS_PINNED = OverHTTP(
    name="dbos-pinned",
    title="the same, a core for each process",
    starting=pinned,
    path="/rides",
    asks_stripe=False,
)
