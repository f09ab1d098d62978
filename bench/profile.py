"""Where a ride's processor time in Python goes: `python -m bench.profile`.

One thread books rides in this process, through all of Django and over real sockets, while a timer
of the process's own processor time looks which function it is in. A look counts for the innermost
of `PARTS`, so the table has each microsecond once. There is no server and no other thread in it:
what they cost is the distance to the benchmark's column.
"""

import io
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from bench import database
from bench.load import COORDINATES, RIDERS
from bench.report import drawn
from bench.world import TEMPLATE, World, production, world

DATABASE = "rocketrides_bench_profile"
WARM_UP = 300
RIDES = 6_000
EVERY_SECONDS = 0.001

BODY = urlencode(COORDINATES).encode()

REST = "Django: request, middlewares, address, response"
STATEMENTS = "PostgreSQL: driver and socket, 8 statements and 2 BEGIN"
CONNECTIONS = "PostgreSQL: connections from the pool and back, twice"
TRANSACTIONS = "PostgreSQL: transactions, 2 COMMIT"
CURSORS = "PostgreSQL: Django's cursors"
KEY = "the key: look-up, claim, two moves with their journal"
ROWS = "the ride's own rows, the staged job"
PARTS = {
    "django.core.handlers.wsgi:WSGIHandler.__call__": REST,
    "django.db.backends.utils:CursorWrapper._execute": STATEMENTS,
    "django.db.backends.utils:CursorWrapper.execute": CURSORS,
    "django.db.backends.utils:CursorWrapper.__exit__": CURSORS,
    "django.db.backends.base.base:BaseDatabaseWrapper.cursor": CURSORS,
    "django.db.backends.base.base:BaseDatabaseWrapper.connect": CONNECTIONS,
    "rocketrides.pooled.base:DatabaseWrapper.close": CONNECTIONS,
    "django.db.transaction:Atomic.__enter__": TRANSACTIONS,
    "django.db.transaction:Atomic.__exit__": TRANSACTIONS,
    "rides.payments.charging:charge": "Stripe: its client",
    "rides.payments.transport:CurlClient.request": "Stripe: HTTP by libcurl",
    "rides.authentication:demo_rider_at": "the credential",
    "idempotency.http.bodies:read_body": "the body: form, checks, canonical JSON",
    "idempotency.http.views:_fresh": "the body: form, checks, canonical JSON",
    "idempotency.claims:find_key": KEY,
    "idempotency.claims:insert_key": KEY,
    "idempotency.leases:write_progress": KEY,
    "idempotency.staging:stage_job": ROWS,
    "rides.records:record_ride": ROWS,
    "rides.records:record_charge": ROWS,
    "idempotency.attempts:Attempt.start": "phases: the loop around them",
    "idempotency.http.views:_answer": "phases: the loop around them",
}


def main() -> None:
    with world() as surroundings, booking(surroundings) as book:
        for n in range(WARM_UP):
            book(n)
        began_at, looks = time.process_time(), Counter[str]()
        with looking(looks):
            for n in range(RIDES):
                book(n)
        took_us = (time.process_time() - began_at) / RIDES * 1e6
    print(table(looks, took_us))


def table(looks: Counter[str], took_us: float) -> str:
    """The parts with their microseconds of a ride that took `took_us`, the dearest first."""
    shares = [(part, count / looks.total()) for part, count in looks.most_common()]
    rows = [(part, f"{share * took_us:.0f}", f"{share:.0%}") for part, share in shares]
    return drawn([("part", "µs a ride", "of it"), *rows, ("all", f"{took_us:.0f}", "100%")])


@contextmanager
def booking(world: World) -> Iterator[Callable[[int], None]]:
    """A function that books a ride for the n-th rider in this process, set up as in production."""
    with database.created(DATABASE, template=TEMPLATE) as url:
        os.environ.update(production(url, world.stand_in, settings="bench.service.settings"))
        os.environ.update(DATABASE_POOL_SIZE="8")
        os.environ.pop("DATABASE_SESSION_OPTIONS", None)  # they might not wait for the disk
        from django.db import connection

        from rocketrides.wsgi import application

        def book(n: int) -> None:
            statuses: list[str] = []

            def start_response(status: str, *_: Any) -> Callable[[bytes], object]:
                statuses.append(status)
                return sys.stderr.buffer.write

            answer = application(environ(n), start_response)
            answer.close()
            assert statuses == ["201 Created"], statuses

        yield book
        connection.close()


def environ(n: int) -> dict[str, Any]:
    """A request as a WSGI server hands it over."""
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/rides",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "HTTP_HOST": "127.0.0.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_AUTHORIZATION": f"rider-{n % RIDERS}@example.com",
        "HTTP_IDEMPOTENCY_KEY": uuid4().hex,
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(BODY)),
        "wsgi.input": io.BytesIO(BODY),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
    }


@contextmanager
def looking(looks: Counter[str]) -> Iterator[None]:
    """Counts into `looks` which part the process is in, each time it has used `EVERY_SECONDS`."""

    def look(_: int, frame: FrameType | None) -> None:
        looks[part_of(frame)] += 1

    signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS, EVERY_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)


def part_of(frame: FrameType | None) -> str:
    """The part that a function belongs to, by itself or by the nearest of those that called it."""
    while frame is not None:
        part = PARTS.get(f"{frame.f_globals.get('__name__')}:{frame.f_code.co_qualname}")
        if part is not None:
            return part
        frame = frame.f_back
    return REST


if __name__ == "__main__":
    main()
