"""The service on psycopg 3: Django's own pool, and statements that the driver prepares.

It has an interpreter of its own, which `make bench` installs: where psycopg 3 is, Django takes it.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import database, load
from bench.contestants.http import OverHTTP
from bench.contestants.service import service
from bench.world import TEMPLATE, Missing, Server, World, production
from rocketrides.environment import BASE_DIR

PROGRAMS = Path(os.environ.get("VENV_PSYCOPG", BASE_DIR / ".venv-psycopg")) / "bin"
SETTINGS = "bench.service.psycopg_settings"
HAS_DJANGOS_POOL = """
import django
django.setup()
from django.db import connection
raise SystemExit(None if connection.pool else "DATABASE_POOL_SIZE leads to no pool of Django's")
"""


@contextmanager
def api_on_psycopg(world: World) -> Iterator[Server]:
    """Raises: Missing."""
    if not (PROGRAMS / "python").exists():
        raise Missing("psycopg 3 has no interpreter here; `make bench` installs it")
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    _refuse_another_pool(world, path)
    with service(world, "psycopg", settings=SETTINGS, PATH=path) as server:
        answer = load.send_one(f"{server.url}/rides", load.fresh(), 0)
        if answer.status_code != 201:
            raise Missing(f"a ride is answered {answer.status_code}: {answer.text[:200]}")
        yield server


def _refuse_another_pool(world: World, path: str) -> None:
    variables = production(database.url(TEMPLATE), world.stand_in, settings=SETTINGS)
    asked = subprocess.run(
        [PROGRAMS / "python", "-c", HAS_DJANGOS_POOL],
        cwd=BASE_DIR,
        env=variables | {"PATH": path, "DATABASE_POOL_SIZE": "8"},
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise Missing(asked.stderr.strip().splitlines()[-1])


OURS_PSYCOPG = OverHTTP(
    name="ours-psycopg",
    title="ours on psycopg 3, Django's pool",
    starting=api_on_psycopg,
    path="/rides",
    asks_stripe=False,
)
