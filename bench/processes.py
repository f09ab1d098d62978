"""What a benchmark runs in: a database, the service's processes, and the commands between them.

Apart from the benchmarks because each of them needs the same: the API as the Procfile runs it, on a
free port, and nothing left behind when the block ends.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import django
import psycopg2
import requests
from psutil import STATUS_ZOMBIE, Process  # type: ignore[import-untyped]

from rocketrides.environment import BASE_DIR, LOCAL_DIR
from sandbox import postgres, supervisor
from sandbox.stripe.control import StandIn

DATABASE = "rocketrides_bench"
START_SECONDS = 30
STOP_SECONDS = 30


def end_in_order_when_told() -> None:
    """Have SIGTERM, or a closed terminal, end what was started, as Ctrl-C does."""
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.default_int_handler)


@contextmanager
def bench_database(stand_in: StandIn) -> Iterator[dict[str, str]]:
    """The environment of processes on an empty database, which is dropped in the end."""
    data_dir = LOCAL_DIR / "postgres"
    with postgres.in_use(data_dir):
        server = postgres.url(data_dir, "postgres")
        execute(server, f"DROP DATABASE IF EXISTS {DATABASE}", f"CREATE DATABASE {DATABASE}")
        try:
            yield environment(postgres.url(data_dir, DATABASE), stand_in)
        finally:
            execute(server, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def environment(database_url: str, stand_in: StandIn) -> dict[str, str]:
    """The service's, with the programs of the running interpreter first in the path."""
    return supervisor.environment(
        DATABASE_URL=database_url,
        STRIPE_API_BASE=stand_in.base_url,
        STRIPE_API_KEY="sk_test_sandbox",
        LOG_LEVEL="WARNING",
    )


@contextmanager
def running_api(environment: dict[str, str]) -> Iterator[str]:
    """The API as the Procfile runs it, on a free port; yields its address."""
    with serving(["sh", "-c", supervisor.commands()["api"]], environment) as (url, _):
        yield url


@contextmanager
def serving(command: list[str], environment: dict[str, str]) -> Iterator[tuple[str, Process]]:
    """A server that listens on the `PORT` that it is told; yields its address and its process."""
    port = supervisor.free_port()
    with running(command, environment | {"PORT": str(port)}) as process:
        url = f"http://127.0.0.1:{port}"
        wait_for(url, process)
        yield url, process


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[Process]:
    started = supervisor.start(command, environment)
    try:
        yield Process(started.process.pid)
    finally:
        started.end(STOP_SECONDS)


def wait_for(url: str, process: Process) -> None:
    """Raises: SystemExit, where the process ends, or nothing answers within `START_SECONDS`."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.status() != STATUS_ZOMBIE:
        with contextlib.suppress(requests.ConnectionError):
            requests.get(url, timeout=5)
            return
        time.sleep(0.1)
    raise SystemExit(f"{url} does not answer")


def manage(environment: dict[str, str], *command: str) -> None:
    subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=BASE_DIR,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def migrate(environment: dict[str, str]) -> None:
    """Make the tables. The checks would say that they are not there yet."""
    manage(environment, "migrate", "--verbosity", "0", "--skip-checks")


def set_up_django(environment: dict[str, str]) -> None:
    """Have this process work on the database of those that it starts."""
    os.environ.update(environment, DJANGO_SETTINGS_MODULE="rocketrides.settings")
    django.setup()


def execute(url: str, *statements: str) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
