"""The service's real processes on the test database: two servers, the workers, and their end.

Apart from the fixtures, because crash tests start, freeze and kill processes one by one.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from django.db import connection

from rocketrides.settings import database_url
from sandbox import supervisor
from sandbox.stripe.control import StandIn
from sandbox.supervisor import PATIENCE_SECONDS, free_port, wait_until

GRANIAN = supervisor.commands()["api"]
RUNSERVER = "exec python manage.py runserver 127.0.0.1:$PORT --noreload"

WORKERS = {
    "completer": ("completer",),
    "enqueuer": ("enqueuer",),
    "reaper": ("reaper",),
    "worker": ("db_worker", "--queue-name", "*", "--no-reload", "--no-startup-delay"),
}

WEBHOOK_SECRET = "whsec_of_the_tests"

COMPLAINT = re.compile(r"level=(error|critical)|\[ERROR\]|Traceback", re.IGNORECASE)


@dataclass(frozen=True)
class Running(supervisor.Running):
    """A process with its children, and the file that holds what they say."""

    log: Path

    def complaints(self) -> list[str]:
        """The lines of the log that an operator would have to look at."""
        return [line for line in self.log.read_text().splitlines() if COMPLAINT.search(line)]


@dataclass(frozen=True)
class Api(Running):
    """A server of the API."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            requests.get(self.url, timeout=PATIENCE_SECONDS)
        except requests.ConnectionError:
            return False
        return True


@contextlib.contextmanager
def running_api(stand_in: StandIn, folder: Path, command: str = GRANIAN) -> Iterator[Api]:
    """A server on a free port, killed at the end of the block; its log is kept in `folder`."""
    port = free_port()
    running = start(["sh", "-c", command], stand_in, folder, PORT=str(port))
    api = Api(running.process, running.log, port)
    try:
        wait_until(api.is_up)
        yield api
    finally:
        api.kill()


@contextlib.contextmanager
def running_command(
    *arguments: str, stand_in: StandIn, folder: Path, **variables: str
) -> Iterator[Running]:
    """`manage.py` with `arguments`, killed at the end of the block if it has not ended."""
    running = start([sys.executable, "manage.py", *arguments], stand_in, folder, **variables)
    try:
        yield running
    finally:
        running.kill()


def run_command(*arguments: str, stand_in: StandIn, folder: Path) -> str:
    """Run `manage.py` with `arguments` to its good end and return what it said."""
    with running_command(*arguments, stand_in=stand_in, folder=folder) as command:
        status = command.process.wait(PATIENCE_SECONDS)
    said = command.log.read_text().strip()
    assert status == 0, said
    return said


def start(command: list[str], stand_in: StandIn, folder: Path, **variables: str) -> Running:
    descriptor, log = tempfile.mkstemp(suffix=".log", dir=folder)
    with os.fdopen(descriptor, "w") as output:
        started = supervisor.start(command, environment(stand_in) | variables, output=output)
    return Running(started.process, Path(log))


def environment(stand_in: StandIn) -> dict[str, str]:
    """The test database and the stand-in, configured as any PostgreSQL and Stripe would be."""
    database = urlsplit(database_url)._replace(path=f"/{connection.settings_dict['NAME']}")
    return supervisor.environment(
        DJANGO_SETTINGS_MODULE="rocketrides.settings",
        DEBUG="on",
        DATABASE_URL=database.geturl(),
        STRIPE_API_KEY="sk_test_sandbox",
        STRIPE_API_BASE=stand_in.base_url,
        STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET,
        EMAIL_URL="dummymail://",
    )
