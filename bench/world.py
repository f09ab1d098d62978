"""Where the contestants stand: one PostgreSQL, one stand-in for Stripe, and a server for each kind.

A server is started when the first contestant needs it, with a copy of the same seeded database, and
runs until the benchmark ends.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg2
import stripe
from psycopg2.extras import execute_values

from bench import database
from bench.load import RIDERS
from bench.processes import environment, migrate
from sandbox.stripe.control import StandIn
from sandbox.stripe.process import running_stand_in

TEMPLATE = "rocketrides_bench_template"

INSERT_RIDERS = """
INSERT INTO rides_user
       (public_id, password, is_superuser, is_active, is_staff, email, stripe_customer_id)
VALUES %s
"""


class Missing(Exception):
    """A contestant cannot be measured here; the text is the reason."""


@dataclass(frozen=True)
class Server:
    """Where a contestant is asked; `process` is None where nothing of it stays running."""

    database: str
    url: str = ""
    process: psutil.Process | None = None


Starting = Callable[["World"], AbstractContextManager[Server]]


@dataclass
class World:
    """What is there for all. `server` starts what `starting` describes, once."""

    stand_in: StandIn
    _lifetime: ExitStack
    _servers: dict[Starting, Server] = field(default_factory=dict)

    def server(self, starting: Starting) -> Server:
        if starting not in self._servers:
            self._servers[starting] = self._lifetime.enter_context(starting(self))
        return self._servers[starting]

    def set_latency(self, milliseconds: int) -> None:
        """How long Stripe takes for a payment."""
        self.stand_in.clear_faults()
        if milliseconds:
            seconds = milliseconds / 1000
            self.stand_in.add_fault("latency", seconds=seconds, path="POST /v1/payment_intents")


@contextmanager
def world() -> Iterator[World]:
    with ExitStack() as lifetime:
        stand_in = lifetime.enter_context(running_stand_in())
        lifetime.enter_context(database.running_server())
        template = lifetime.enter_context(database.created(TEMPLATE))
        migrate(environment(template, stand_in))
        seed_riders(template, stand_in)
        yield World(stand_in, lifetime)


def production(database_url: str, stand_in: StandIn, *, settings: str) -> dict[str, str]:
    """The environment of the API as production has it, with `settings` of the benchmark.

    Whatever this shell has set for its sessions is left out: it might not wait for the disk.
    """
    variables = environment(database_url, stand_in) | {
        "DJANGO_SETTINGS_MODULE": settings,
        "DEBUG": "false",
        "HTTPS_ONLY": "false",  # no proxy stands before what is measured
        "DEMO_AUTH": "false",
        "SECRET_KEY": "for-the-benchmark-only" + "x" * 40,
        "ALLOWED_HOSTS": "127.0.0.1",
        "FOREIGN_KEY_NAMESPACE": "3c0f5d1e-7b64-4b8f-a1de-52f8c9a4e6d7",
        "PIN_WORKERS": "false",  # a row of its own
    }
    variables.pop("DATABASE_SESSION_OPTIONS", None)
    return variables


def seed_riders(database_url: str, stand_in: StandIn) -> None:
    """Riders of a new database, with the ids from 1 on. Many, as a service has them: one alone
    would be one row that every transaction locks.
    """
    client = stripe.StripeClient("sk_test_sandbox", base_addresses={"api": stand_in.base_url})
    rows: list[tuple[Any, ...]] = []
    for n in range(RIDERS):
        email = f"rider-{n}@example.com"
        customer = client.v1.customers.create({"email": email, "source": "tok_visa"})
        rows.append((str(uuid.uuid4()), "!", False, True, False, email, customer.id))
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        execute_values(cursor, INSERT_RIDERS, rows)
        connection.commit()
