"""`python -m proof.rolling`: two instances behind HAProxy, restarted in turn while clients book.

Stripe takes two seconds, so that every restart finds bookings in the middle of a call. No client
may notice: each booking is answered with 201 at the first try.
"""

import argparse
import http.client
import os
import signal
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import django
import requests

from proof.chaos.world import World, leave, running_world
from sandbox import supervisor
from sandbox.supervisor import Running, free_port

if TYPE_CHECKING:
    from proof.chaos.clients import Booking

STRIPE_SECONDS = 2.0
NOTICE_SECONDS = 3  # longer than HAProxy's check of an instance takes to fail
PATIENCE_SECONDS = 30.0
RIDERS = 20
CHARGING = "POST /v1/payment_intents"


def main() -> int:
    signal.signal(signal.SIGTERM, leave)
    options = parse()
    with (
        tempfile.TemporaryDirectory(prefix="rolling-") as folder,
        running_world(Path(folder), port=5099) as world,
    ):
        os.environ.update(world.environment(), DJANGO_SETTINGS_MODULE="rocketrides.settings")
        del os.environ["STOP_GRACE_SECONDS"]  # the default is what is tried
        django.setup()
        told, violations = roll(world, options.restarts, options.clients)
    for what, count in told.items():
        sys.stdout.write(f"{count:6}  {what}\n")
    sys.stdout.write("\n".join([*violations, f"violations  {len(violations)}\n"]))
    return 1 if violations else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proof.rolling", description=__doc__)
    parser.add_argument("--restarts", type=int, default=20, help="of one of the two instances")
    parser.add_argument("--clients", type=int, default=16, help="bookings at once")
    return parser.parse_args()


@dataclass
class Instance:
    """One of the two: a port that its processes have, one after the other."""

    world: World
    port: int
    running: Running = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        told = supervisor.environment(PORT=str(self.port), STOP_NOTICE_SECONDS=str(NOTICE_SECONDS))
        with (self.world.folder / f"api-{self.port}.log").open("ab") as log:
            self.running = supervisor.start(supervisor.commands()["api"], told, output=log)

    def wait_until_ready(self) -> None:
        for _ in range(int(PATIENCE_SECONDS / 0.1)):
            try:
                if requests.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).ok:
                    return
            except requests.ConnectionError:
                pass
            threading.Event().wait(0.1)
        raise TimeoutError("the API is not ready")

    def restart(self) -> None:
        self.running.process.terminate()
        self.running.process.wait(PATIENCE_SECONDS)
        self.start()
        self.wait_until_ready()

    def kill(self) -> None:
        self.running.kill()


def roll(world: World, restarts: int, at_once: int) -> tuple[Counter[str], list[str]]:
    """Restart the two in turn; return what the clients were told, and what should not have been."""
    # Only now: they import models.
    from proof.chaos.clients import Booking
    from proof.chaos.people import make_riders
    from rides.models import Ride
    from rides.tests.balancing import balancer

    riders = make_riders(RIDERS, bad_cards=0)
    instances = [Instance(world, free_port()) for _ in range(2)]
    told: Counter[str] = Counter()
    stop = threading.Event()
    try:
        for instance in instances:
            instance.wait_until_ready()
        world.stand_in.add_fault("latency", seconds=STRIPE_SECONDS, path=CHARGING)
        with balancer(world.folder, (instances[0].port, instances[1].port)) as url:
            port = int(url.rpartition(":")[2])
            with ThreadPoolExecutor(at_once) as clients:
                for n in range(at_once):
                    clients.submit(book_on, port, Booking, riders[n % RIDERS], told, stop)
                try:
                    for n in range(restarts):
                        stop.wait(2)
                        instances[n % 2].restart()
                        told["restarts"] += 1
                    stop.wait(2)
                finally:
                    stop.set()
    finally:
        for instance in instances:
            instance.kill()
    return told, violations_of(told, Ride.objects.count(), len(world.stand_in.charges()))


def book_on(
    port: int, booking_of: type["Booking"], rider: str, told: Counter[str], stop: threading.Event
) -> None:
    """Book one ride after the other, and note each answer."""
    from proof.chaos.clients import send

    while not stop.is_set():
        try:
            answer = send(port, booking_of(rider), PATIENCE_SECONDS)
            told[str(answer.status) if answer.status == 201 else repr(answer)] += 1
        except (OSError, http.client.HTTPException) as error:
            told[f"no answer: {error!r}"] += 1


def violations_of(told: Counter[str], rides: int, charges: int) -> list[str]:
    others = [what for what in told if what not in ("201", "restarts")]
    lost = told["201"] - rides
    return [
        *(f"{told[what]} times {what}" for what in others),
        *([f"{told['201']} rides were answered, {rides} are there"] if lost else []),
        *([f"{rides} rides, {charges} charges"] if rides != charges else []),
    ]


if __name__ == "__main__":
    sys.exit(main())
