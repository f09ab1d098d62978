"""`python -m proof.two_releases`: the last release and this code on one database, as in a deploy.

The release's processes make the database and serve; this code migrates it under them, and serves
beside them. Clients are led to both. Whatever is killed or stopped, of either, a key that one has
begun the other may finish, and the other's replay is the first's answer.
"""

import argparse
import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import django

from proof.chaos.world import SERVICES, World, leave, running_world, serving
from rocketrides.environment import BASE_DIR
from sandbox import supervisor

FIRST = "6afb61c"
"""The commit with which the schema begins: it stands for a release until there is one."""
CLIENTS = 8
RIDERS = 20
STRIPE_SECONDS = 0.5
CHARGING = "POST /v1/payment_intents"
KILLS_EVERY_SECONDS = 2.0
WORKERS = [service for service in SERVICES if service != "api"]


def main() -> int:
    signal.signal(signal.SIGTERM, leave)
    options = parse()
    with (
        tempfile.TemporaryDirectory(prefix="releases-") as name,
        running_world(Path(name), port=supervisor.free_port()) as world,
    ):
        home = unpacked(options.release, Path(name) / "release")
        os.environ.update(world.environment())
        manage = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(manage, cwd=home, check=True)  # noqa: S603
        django.setup()
        seen = run_both(world, home, options.seconds, options.seed)
    for what, count in seen.items():
        sys.stdout.write(f"{count:6}  {what}\n")
    return 1 if seen["violations"] else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proof.two_releases", description=__doc__)
    parser.add_argument("--release", default=last_release(), help="a tag or a commit")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def last_release() -> str:
    """Return the newest tag of a release that leads here, or the commit that stands for it."""
    tags = ["git", "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^"]
    found = subprocess.run(tags, cwd=BASE_DIR, capture_output=True, text=True, check=False)  # noqa: S603
    return found.stdout.strip() or FIRST


def unpacked(release: str, folder: Path) -> Path:
    """Write the code of a release into a folder."""
    folder.mkdir()
    archive = subprocess.run(  # noqa: S603
        ["git", "archive", release],  # noqa: S607
        cwd=BASE_DIR,
        stdout=subprocess.PIPE,
        check=True,
    )
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)  # noqa: S607
    return folder


def run_both(ours: World, home: Path, seconds: float, seed: int) -> dict[str, int]:
    """Have clients book at both at once while both are killed; return what was seen."""
    # Only now: they import models.
    from idempotency.models import IdempotencyKey
    from idempotency.testing.histories import recorded_histories
    from proof.chaos.clients import Clients, wait_until_up
    from proof.chaos.people import make_riders
    from proof.chaos.verdict import tell_everybody, violations_of, wait_for_jobs, wait_for_keys
    from rides.tests.balancing import balancer

    port = supervisor.free_port()
    theirs = replace(
        ours, folder=home, home=home, port=port, processes={}, ending=threading.Event()
    )
    with contextlib.ExitStack() as both:
        both.enter_context(serving(theirs))
        riders = make_riders(RIDERS, bad_cards=RIDERS // 5)  # migrates, under theirs
        both.enter_context(recorded_histories())
        both.enter_context(serving(ours))
        wait_until_up(ours.port)
        wait_until_up(theirs.port)
        url = both.enter_context(balancer(ours.folder, (ours.port, theirs.port)))
        ours.stand_in.add_fault("latency", seconds=STRIPE_SECONDS, path=CHARGING)
        clients = Clients(int(url.rpartition(":")[2]), riders, seed)
        stop = threading.Event()
        booking = threading.Thread(target=clients.run, args=(CLIENTS, stop))
        booking.start()
        try:
            kill_in_turn((ours, theirs), seconds, random.Random(seed))  # noqa: S311
        finally:
            stop.set()
            booking.join()
        ours.end_faults()
        wait_for_keys()
        wait_for_jobs()
        tell_everybody(clients)
        violations = violations_of(clients.bookings)
    for violation in violations:
        sys.stdout.write(f"{violation}\n")
    taken_over = IdempotencyKey.objects.filter(attempt__gt=1).count()
    return {
        "keys": len(clients.bookings),
        "replays": clients.told["replays"],
        "keys with more than one attempt": taken_over,
        "processes killed": ours.kills + theirs.kills,
        "violations": len(violations),
    }


def kill_in_turn(worlds: tuple[World, World], seconds: float, dice: random.Random) -> None:
    """Kill one API, then the other's, and with each a worker of either; all are started again."""
    ends_at = time.monotonic() + seconds
    for world in itertools.cycle(worlds):
        if time.monotonic() > ends_at:
            return
        time.sleep(KILLS_EVERY_SECONDS)
        world.kill("api")
        another = dice.choice(worlds)
        dice.choice((another.kill, another.stop))(dice.choice(WORKERS))


if __name__ == "__main__":
    sys.exit(main())
