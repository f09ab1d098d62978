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

import requests

from bench.processes import (
    bench_database,
    end_in_order_when_told,
    migrate,
    running,
    running_api,
    set_up_django,
)
from bench.world import seed_riders
from sandbox.stripe.process import running_stand_in

STRIPE_SECONDS = 0.3


def main() -> None:
    options = _options()
    end_in_order_when_told()
    with running_stand_in() as stand_in, bench_database(stand_in) as environment:
        migrate(environment)
        seed_riders(environment["DATABASE_URL"], stand_in)
        set_up_django(environment)
        from bench import figures

        figures.leave_due_keys(options.backlog)
        figures.settle()
        stand_in.add_fault("latency", seconds=STRIPE_SECONDS, path="POST /v1/payment_intents")
        with running_api(environment) as api:
            alone = book_for(options.seconds / 2, api)
            with running_completer(environment, options.concurrency):
                time.sleep(5)  # until every thread has its connection
                before, began_at = figures.unfinished_keys(), time.monotonic()
                beside = book_for(options.seconds, api)
                drained = before - figures.unfinished_keys()
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
    """Book one ride after the other; return how long each took, in seconds."""
    from bench.figures import book

    took = []
    session = requests.Session()
    ends_at = time.monotonic() + seconds
    while (began_at := time.monotonic()) < ends_at:
        book(api, session)
        took.append(time.monotonic() - began_at)
    return took


@contextmanager
def running_completer(environment: dict[str, str], concurrency: int) -> Iterator[None]:
    command = [sys.executable, "manage.py", "completer", "--concurrency", str(concurrency)]
    with running(command, environment | {"COMPLETER_RATE": "1000"}):
        yield


def _options() -> Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--backlog", type=int, default=100_000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    return parser.parse_args()


if __name__ == "__main__":
    main()
