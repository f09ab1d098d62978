"""After an outage: how fast one completer drains the backlog, and what a client notices of it.

    python -m bench.draining [--backlog 100000] [--concurrency 32] [--seconds 60]

It makes a database of its own in the embedded PostgreSQL, leaves `--backlog` requests at
`ride_created` as an outage would, and has the stand-in answer after 300 ms. A client books rides
one after the other, first alone and then while `manage.py completer` drains.
"""

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg2
import requests
from honcho.environ import parse_procfile

from rocketrides.environment import BASE_DIR, LOCAL_DIR
from sandbox import postgres
from sandbox.stripe.control import StandIn
from sandbox.stripe.process import running_stand_in

DATABASE = "rocketrides_bench"
STRIPE_SECONDS = 0.3
COORDINATES = {"origin_lat": "0", "origin_lon": "0", "target_lat": "0", "target_lon": "0"}

LEAVE_BACKLOG = """
INSERT INTO idempotency_idempotencykey
       (user_id, idempotency_key, request_method, request_path, request_params, fingerprint,
        foreign_key, created_at, last_run_at, run_after, attempt, recovery_point, foreign_sent_at,
        last_error, journal)
SELECT rider.id, 'left-by-an-outage-' || lpad(n::text, 8, '0'), 'POST', '/rides',
       '{"origin_lat": "0", "origin_lon": "0", "target_lat": "0", "target_lon": "0"}',
       md5(n::text), gen_random_uuid(), now() - interval '1 hour', now() - interval '1 hour',
       now() - interval '1 minute', 1, 'ride_created', now() - interval '1 hour', '', '[]'
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
        _manage(environment, "migrate", "--verbosity", "0")
        _manage(environment, "seed")
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
def bench_database(stand_in: StandIn) -> Iterator[dict[str, str]]:
    """The environment of processes on an empty database, which is dropped in the end."""
    data_dir = LOCAL_DIR / "postgres"
    with postgres.in_use(data_dir):
        server = postgres.url(data_dir, "postgres")
        _execute(server, f"DROP DATABASE IF EXISTS {DATABASE}", f"CREATE DATABASE {DATABASE}")
        try:
            yield os.environ | {
                "DATABASE_URL": postgres.url(data_dir, DATABASE),
                "STRIPE_API_BASE": stand_in.base_url,
                "STRIPE_API_KEY": "sk_test_sandbox",
                "LOG_LEVEL": "WARNING",
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            }
        finally:
            _execute(server, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


@contextmanager
def running_api(environment: dict[str, str]) -> Iterator[str]:
    """The API as the Procfile runs it, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = parse_procfile((BASE_DIR / "Procfile").read_text()).processes["api"]
    with running(["sh", "-c", command], environment | {"PORT": str(port)}):
        url = f"http://127.0.0.1:{port}"
        _wait_for(url)
        yield url


@contextmanager
def running_completer(environment: dict[str, str], concurrency: int) -> Iterator[None]:
    command = [sys.executable, "manage.py", "completer", "--concurrency", str(concurrency)]
    with running(command, environment):
        yield


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(command, cwd=BASE_DIR, env=environment, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _wait_for(url: str) -> None:
    for _ in range(200):
        try:
            requests.get(url, timeout=5)
        except requests.ConnectionError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"{url} does not answer")


def _manage(environment: dict[str, str], *command: str) -> None:
    subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=BASE_DIR,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _execute(url: str, *statements: str) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


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
