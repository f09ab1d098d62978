"""`python -m proof.chaos`: the service under load while everything happens to it that can.

It prints the seed of the run, and at the end a table: what was tried, what happened, what was seen,
and which promises did not hold. It fails if there is one, or if too little was seen; so where luck
has not yet brought all that must be seen, it goes on for a while with what can bring it.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import django
from django.db import connections

from proof.chaos import outcome
from proof.chaos.nemeses import NEMESES, Schedule
from proof.chaos.world import World, leave, running_world, serving

if TYPE_CHECKING:
    from proof.chaos.clients import Clients

RIDERS = 100
BAD_CARDS = 10
ASKED = 10
RIDES_TO_AN_ENROLMENT = 3
# Stripe's clock is another machine's: of a run it is wrong by so much, from beginning to end.
CLOCKS_AHEAD_SECONDS = (0, -600, 600, -3600, 3600, -4 * 3600, 4 * 3600)


def main() -> int:
    signal.signal(signal.SIGTERM, leave)
    options = parse()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 30)
    names = [name for name in NEMESES if any(part in name for part in options.nemeses)]
    sys.stdout.write(f"seed {seed}: {options.minutes:g} minutes, {options.clients} keys at once\n")
    sys.stdout.flush()
    with folder_for(options) as folder, running_world(folder, options.port) as world:
        os.environ.update(world.environment())
        django.setup()
        result = run(world, Schedule(names, seed), seed, options)
    sys.stdout.write(f"{result}\n")
    return 1 if result.failures else 0


@contextlib.contextmanager
def folder_for(options: argparse.Namespace) -> Iterator[Path]:
    if options.keep:
        options.keep.mkdir(parents=True)
        yield options.keep
        return
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        yield Path(folder)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proof.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, help="of an earlier run, to repeat it")
    parser.add_argument(
        "--patience",
        type=float,
        default=180.0,
        metavar="SECONDS",
        help="how much longer it may go on, until all is seen that must be (default: 180)",
    )
    parser.add_argument("--clients", type=int, default=8, help="keys at once (default: 8)")
    parser.add_argument("--port", type=int, default=5099, help="of the API (default: 5099)")
    parser.add_argument("--keep", type=Path, help="a new folder for the logs and the database")
    parser.add_argument(
        "--nemeses",
        nargs="*",
        default=[""],
        help="only those with one of these words in their names; none at all for a calm run",
    )
    return parser.parse_args()


def run(
    world: World, schedule: Schedule, seed: int, options: argparse.Namespace
) -> "outcome.Outcome":
    # Only now: they import models.
    from idempotency.testing.histories import recorded_histories
    from proof.chaos import enrolling, going_back, nemeses, verdict
    from proof.chaos.clients import Clients, a_ride, wait_until_up
    from proof.chaos.people import make_riders

    kinds = (*[a_ride] * RIDES_TO_AN_ENROLMENT, enrolling.an_enrolment)
    clients = Clients(options.port, make_riders(RIDERS, BAD_CARDS, ASKED), seed, kinds)
    enrolling.make_courses()
    began_at = time.monotonic()
    with recorded_histories():
        with serving(world):
            wait_until_up(options.port)
            world.stand_in.set_clock(CLOCKS_AHEAD_SECONDS[seed % len(CLOCKS_AHEAD_SECONDS)])
            load(world, schedule, clients, options)
            world.end_faults()
            nemeses.banks_decide(world, random.Random(seed))  # noqa: S311
            seconds = verdict.wait_for_keys()
            verdict.tell_everybody(clients)
            seconds_of_jobs = verdict.wait_for_jobs()
            missed = going_back.violations_of_reversals(world)
        return outcome.Outcome(
            minutes_asked_for=options.minutes,
            minutes=(time.monotonic() - began_at) / 60,
            keys=len(clients.bookings),
            told=clients.told,
            nemeses=schedule.names,
            happened=schedule.happened,
            seconds_of_keys=seconds,
            seconds_of_jobs=seconds_of_jobs,
            sightings=sightings(world, clients),
            violations=[
                *missed,
                *verdict.violations_of(clients.bookings_of(a_ride)),
                *verdict.violations_of(
                    clients.bookings_of(enrolling.an_enrolment), enrolling.promises(world.ledger)
                ),
            ],
        )


def load(world: World, schedule: Schedule, clients: "Clients", options: argparse.Namespace) -> None:
    from proof.chaos import verdict  # only now: it imports models

    stop = threading.Event()
    nemeses = threading.Thread(target=schedule.run, args=[world, stop])
    traffic = threading.Thread(target=clients.run, args=[options.clients, stop])
    for thread in (nemeses, traffic):
        thread.start()
    try:
        stop.wait(options.minutes * 60)
        verdict.go_on_until_all_is_seen(
            lambda: sightings(world, clients),
            schedule,
            minutes=options.minutes,
            patience=options.patience,
        )
    finally:
        stop.set()
        for thread in (nemeses, traffic):
            thread.join()
        connections.close_all()  # PostgreSQL was restarted meanwhile


def sightings(world: World, clients: "Clients") -> "list[outcome.Sighting]":
    from proof.chaos import enrolling, going_back, verdict  # only now: they import models

    return [
        *verdict.sightings(world, clients),
        *enrolling.sightings(),
        *going_back.sightings(world),
    ]


if __name__ == "__main__":
    sys.exit(main())
