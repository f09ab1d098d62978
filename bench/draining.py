"""After an outage: how fast one completer drains the backlog, and what a client notices of it.

    python -m bench.draining [--backlog 100000] [--concurrency 32] [--seconds 60]

It makes a database of its own in the embedded PostgreSQL, leaves `--backlog` requests at
`ride_created` as an outage would, and has the stand-in answer after 300 ms. A client books rides
one after the other, first alone and then while `manage.py completer` drains.
"""

import statistics
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg2
import requests

from bench.surroundings import bench_database, manage, running, running_api
from sandbox.stripe.process import running_stand_in

STRIPE_SECONDS = 0.3
COORDINATES = {"origin_lat": "0", "origin_lon": "0", "target_lat": "0", "target_lon": "0"}

LEAVE_BACKLOG = """
INSERT INTO idempotency_idempotencykey
       (user_id, idempotency_key, request_method, request_path, request_params, fingerprint,
        foreign_key, lease_token, created_at, last_run_at, run_after, attempt, recovery_point,
        foreign_sent_at, last_error, journal)
SELECT rider.id, 'left-by-an-outage-' || lpad(n::text, 8, '0'), 'POST', '/rides',
       '{"origin_lat": "0", "origin_lon": "0", "target_lat": "0", "target_lon": "0"}',
       md5(n::text), gen_random_uuid(), gen_random_uuid(),
       now() - interval '1 hour', now() - interval '1 hour', now() - interval '1 minute', 1,
       'ride_created', now() - interval '1 hour', '', '[]'
  FROM rides_user AS rider, generate_series(1, %(backlog)s) AS n
 WHERE rider.email = 'user@example.com';

INSERT INTO rides_ride
       (idempotency_key_id, user_id, created_at, origin_lat, origin_lon, target_lat, target_lon,
        amount_cents, currency)
SELECT id, user_id, created_at, 0, 0, 0, 0, 2000, 'usd' FROM idempotency_idempotencykey;

ANALYZE;
"""

COUNT_UNFINISHED = """
SELECT count(*) FROM idempotency_idempotencykey WHERE recovery_point <> 'finished'
"""


def main() -> None:
    options = _options()
    with running_stand_in() as stand_in, bench_database(stand_in) as environment:
        manage(environment, "migrate", "--verbosity", "0")
        manage(environment, "seed")
        with psycopg2.connect(environment["DATABASE_URL"]) as connection:
            connection.cursor().execute(LEAVE_BACKLOG, {"backlog": options.backlog})
        stand_in.add_fault("latency", seconds=STRIPE_SECONDS, path="POST /v1/payment_intents")
        with running_api(environment) as api:
            alone = book_for(options.seconds / 2, api)
            with running_completer(environment, options.concurrency):
                time.sleep(5)  # until every thread has its connection
                before, began_at = _unfinished(environment), time.monotonic()
                beside = book_for(options.seconds, api)
                drained = before - _unfinished(environment)
                rate = drained / (time.monotonic() - began_at)
    report(options, rate, alone, beside)


def report(options: Namespace, rate: float, alone: list[float], beside: list[float]) -> None:
    alone_ms, beside_ms = (1000 * statistics.median(each) for each in (alone, beside))
    print(f"backlog {options.backlog}, concurrency {options.concurrency}, Stripe after 300 ms")
    print(f"drained, keys a second                        {rate:8.1f}")
    print(f"a client's request, nothing else, median ms   {alone_ms:8.1f}")
    print(f"a client's request while draining, median ms  {beside_ms:8.1f}")
    print(f"ratio                                         {beside_ms / alone_ms:8.2f}")


def book_for(seconds: float, api: str) -> list[float]:
    """Books one ride after the other; returns how long each took, in seconds."""
    took = []
    session = requests.Session()
    ends_at = time.monotonic() + seconds
    while (began_at := time.monotonic()) < ends_at:
        headers = {"Authorization": "user@example.com", "Idempotency-Key": uuid4().hex}
        answer = session.post(f"{api}/rides", data=COORDINATES, headers=headers, timeout=30)
        assert answer.status_code == 201, answer.text
        took.append(time.monotonic() - began_at)
    return took


@contextmanager
def running_completer(environment: dict[str, str], concurrency: int) -> Iterator[None]:
    command = [sys.executable, "manage.py", "completer", "--concurrency", str(concurrency)]
    with running(command, environment):
        yield


def _unfinished(environment: dict[str, str]) -> int:
    with psycopg2.connect(environment["DATABASE_URL"]) as connection, connection.cursor() as cursor:
        cursor.execute(COUNT_UNFINISHED)
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def _options() -> Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--backlog", type=int, default=100_000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    return parser.parse_args()


if __name__ == "__main__":
    main()
