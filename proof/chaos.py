"""`python -m proof.chaos`: the service under load while everything happens to it that can.

It prints the seed of the run, and at the end a table: what was tried, what happened, what was seen,
and which promises did not hold. It fails if there is one, or if too little was seen.
"""

import argparse
import contextlib
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import django

from proof.nemeses import NEMESES, Schedule
from proof.world import World, running_world, serving

if TYPE_CHECKING:
    from proof.clients import Clients

RIDERS = 100
BAD_CARDS = 10
MOST_SHOWN = 10


def main() -> int:
    options = parse()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 30)
    names = [name for name in NEMESES if any(part in name for part in options.nemeses)]
    say(f"chaos: seed {seed}, {options.minutes:g} minutes, {options.clients} keys at once")
    with folder_for(options) as folder, running_world(folder, options.port) as world:
        os.environ.update(world.environment())
        django.setup()
        return run(world, Schedule(names, seed), seed, options)


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


def run(world: World, schedule: Schedule, seed: int, options: argparse.Namespace) -> int:
    # Only now: they import models.
    from idempotency.testing.histories import recorded_histories
    from proof import verdict
    from proof.clients import Clients, wait_until_up
    from proof.people import make_riders

    riders = make_riders(RIDERS, BAD_CARDS)
    clients = Clients(options.port, riders, seed)
    with recorded_histories():
        began_at = time.monotonic()
        with serving(world):
            wait_until_up(options.port)
            load(world, schedule, clients, options)
            world.stand_in.clear_faults()
            verdict.forget_connections()
            seconds = verdict.wait_for_rest()
            verdict.tell_everybody(clients)
            seconds = max(seconds, verdict.wait_for_rest())
        violations = verdict.violations_of(clients.bookings)
        seen = verdict.sightings(world, clients)
        minutes = (time.monotonic() - began_at) / 60
        report(schedule, clients, minutes, seconds)
    if seconds >= verdict.AT_REST_WITHIN_SECONDS:
        violations[f"not at rest within {seconds:.0f} s"] += 1
    for sighting in seen:
        say(f"{sighting.name:<44}{sighting.count:>8}")
    missing = [s.name for s in seen if schedule.happened and not s.is_enough(options.minutes)]
    return conclude(violations, missing, schedule, clients)


def load(world: World, schedule: Schedule, clients: "Clients", options: argparse.Namespace) -> None:
    stop = threading.Event()
    nemeses = threading.Thread(target=schedule.run, args=[world, stop])
    traffic = threading.Thread(target=clients.run, args=[options.clients, stop])
    for thread in (nemeses, traffic):
        thread.start()
    time.sleep(options.minutes * 60)
    stop.set()
    for thread in (nemeses, traffic):
        thread.join()


def report(schedule: Schedule, clients: "Clients", minutes: float, seconds: float) -> None:
    say(f"\n{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {minutes:.1f} minutes, {os.cpu_count()} cores")
    say(f"{'keys':<44}{len(clients.bookings):>8}")
    requests = sum(n for what, n in clients.told.items() if what.isdigit() or " " in what)
    say(f"{'requests':<44}{requests:>8}")
    for what, count in sorted(clients.told.items()):
        if what.isdigit() or " " in what:
            say(f"  {what:<42}{count:>8}")
    say(f"{'seconds until all was at rest':<44}{seconds:>8.1f}")
    say("\nwhat happened")
    for name, count in sorted(schedule.happened.items()):
        say(f"  {name:<42}{count:>8}")
    say("\nwhat was seen")


def conclude(
    violations: Counter[str], missing: list[str], schedule: Schedule, clients: "Clients"
) -> int:
    answers_of_a_fault = [status for status in clients.told if status.startswith("5")]
    if not schedule.happened and answers_of_a_fault:
        violations[f"answers {answers_of_a_fault} although nothing happened"] += 1
    say(f"\n{'violations':<44}{violations.total():>8}")
    for violation in list(violations)[:MOST_SHOWN]:
        say(f"  {violation}")
    for name in missing:
        say(f"not seen often enough: {name}")
    return 1 if violations or missing else 0


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
