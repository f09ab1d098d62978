"""The service as production has it, alone with its PostgreSQL and the stand-in for Stripe.

No worker runs beside it, so that whatever is written was written by a request.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
import psutil  # type: ignore[import-untyped]
import psycopg2

from proof.chaos.pair import Pair
from sandbox import supervisor
from sandbox.stripe.control import StandIn
from sandbox.stripe.process import running_stand_in
from sandbox.supervisor import free_port

HOST = "127.0.0.1"
START_WITHIN_SECONDS = 60.0

COMPLAINT = re.compile(r"level=(error|critical)|\[ERROR\]|Traceback", re.IGNORECASE)

SOURCES = ("tok_visa", "tok_threeDSecure2Required", "tok_chargeCustomerFail")
"""The riders' cards: one pays, one asks the rider, and one is declined."""

# A transaction that writes, or locks a row, has a number; so this tells every write from none.
LAST_WRITE = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
# Its own writes are no request's.
NO_VACUUM = ("ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()")


@dataclass(frozen=True)
class Service:
    """Where it answers, an API key of each rider's, and what of it must not change."""

    port: int
    api_keys: tuple[str, ...]
    log: Path
    process: psutil.Process
    database: Any

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def last_write(self) -> str:
        """Return what changes with each transaction that writes, one rolled back too."""
        return str(self.ask(LAST_WRITE))

    def ask(self, query: str, *values: object) -> Any:
        """Return the one value that a query answers."""
        with self.database.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchone()[0]

    def complaints(self) -> list[str]:
        """Return the lines of the server's log that an operator would have to look at."""
        return [line for line in self.log.read_text().splitlines() if COMPLAINT.search(line)]

    def processes(self) -> set[int]:
        """Return the numbers of the server's processes, which no request may change."""
        return {child.pid for child in self.process.children(recursive=True)}


@contextlib.contextmanager
def running_service(folder: Path) -> Iterator[Service]:
    """Run all of it until the end of the block."""
    with running_stand_in() as stand_in:
        pair = Pair(folder)
        pair.start()
        try:
            yield from _serve(folder, pair.url, stand_in)
        finally:
            pair.stop()


def _serve(folder: Path, database_url: str, stand_in: StandIn) -> Iterator[Service]:
    port = free_port()
    environment = production(database_url, stand_in, port)
    # Of this process too, which makes the riders, with what no production loads.
    os.environ.update(environment, DEBUG="true")
    django.setup()
    from proof.chaos.clients import wait_until_up  # only now: it imports models

    log = folder / "api.log"
    with contextlib.closing(psycopg2.connect(database_url)) as database:
        database.autocommit = True
        with database.cursor() as cursor:
            for statement in NO_VACUUM:
                cursor.execute(statement)
        api_keys = make_api_keys()
        with log.open("wb") as output:
            command = supervisor.commands()["api"]
            api = supervisor.start(command, supervisor.environment(**environment), output=output)
        try:
            wait_until_up(port, within_seconds=START_WITHIN_SECONDS)
            yield Service(port, api_keys, log, psutil.Process(api.process.pid), database)
        finally:
            api.kill()


def production(database_url: str, stand_in: StandIn, port: int) -> dict[str, str]:
    """Return the environment of production, but for the proxy before it, which would mend heads."""
    return {
        "DJANGO_SETTINGS_MODULE": "rocketrides.settings",
        "DEBUG": "false",
        # One rider leaves thousands of requests for their bank to ask about, and is to go on.
        "MAX_UNFINISHED": "1000000",
        "DEMO_AUTH": "false",
        "HTTPS_ONLY": "false",
        "SECRET_KEY": "for-the-fuzz-only" + "x" * 50,
        "ALLOWED_HOSTS": f"{HOST},localhost",
        "FOREIGN_KEY_NAMESPACE": "0d8b9f50-6b0e-4c8c-8f5f-0f1c6a3a7f0e",
        "DATABASE_URL": database_url,
        "STRIPE_API_KEY": "sk_test_sandbox",
        "STRIPE_API_BASE": stand_in.base_url,
        "STRIPE_WEBHOOK_SECRET": "whsec_of_the_fuzz",
        "EMAIL_URL": "dummymail://",
        "PORT": str(port),
        "PULSE_SECONDS": "0",  # whose writes are no request's
        "BODY_SECONDS": "1",  # or each body that never ends would take ten
    }


def make_api_keys() -> tuple[str, ...]:
    """Create the tables and the riders, and return an API key of each."""
    from django.core.management import call_command  # only now: there are settings

    from proof.chaos.people import make_rider
    from rides.apikeys.keys import issue_key
    from rides.models import User

    call_command("migrate", verbosity=0, interactive=False)
    keys = []
    for source in SOURCES:
        make_rider(f"{source.lower()}@example.com", source)
        _, text = issue_key(User.objects.get(email=f"{source.lower()}@example.com"), "the fuzz")
        keys.append(text)
    return tuple(keys)
