"""`python -m proof.failover`: the service under load while its PostgreSQL is switched over, at last
stopped without a word and started, and restarted in good order.

Nothing else happens, so more can be asked than of chaos: nothing but 201, 402 (a declined card),
409 and 503 is answered, the first 201 comes within five seconds of each promotion, nobody who asks
after the restart is refused, no process of the service but the job worker is restarted or logs an
error, and no promise is broken.
"""

import argparse
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import django
import psutil  # type: ignore[import-untyped]
from django.db import connections

from proof.chaos.pair import Pair
from proof.chaos.patroni import Cluster
from proof.chaos.world import SERVICES, World, leave, running_world, serving

if TYPE_CHECKING:
    from proof.chaos.clients import Clients

T = TypeVar("T")

# The job worker is the framework's own: it ends with its connection, and is started again.
LASTING = [service for service in SERVICES if service != "worker"]

COMPLAINT = re.compile(r"level=(error|critical)|Traceback")

RIDERS = 50
BAD_CARDS = 2
CLIENTS = 8
BOOKED_WITHIN_SECONDS = 5.0
PATIENCE_SECONDS = 30.0
START_WITHIN_SECONDS = 60.0  # beside other tests it takes its time
LOAD_BEFORE_SECONDS = 1.5
LOOK_AGAIN_SECONDS = 0.01
ANSWERS = {"201", "402", "409", "503", "replays", "fenced", "hung up"}


def main() -> int:
    signal.signal(signal.SIGTERM, leave)
    options = parse()
    with (
        tempfile.TemporaryDirectory(prefix="failover-") as folder,
        running_world(Path(folder), options.port, servers(Path(folder), options.way)) as world,
    ):
        os.environ.update(world.environment())
        django.setup()
        failures = run(world, options)
        for failure in failures[:10]:
            sys.stdout.write(f"  {failure}\n")
        sys.stdout.write(f"violations {len(failures)}\n")
    return 1 if failures else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proof.failover", description=__doc__)
    parser.add_argument("--switchovers", type=int, default=1)
    parser.add_argument("--way", choices=["address", "hosts", "patroni"], default="address")
    parser.add_argument("--port", type=int, default=5098, help="of the API (default: 5098)")
    return parser.parse_args()


def servers(folder: Path, way: str) -> Pair | Cluster:
    return Cluster(folder) if way == "patroni" else Pair(folder, way)


def run(world: World, options: argparse.Namespace) -> list[str]:
    """Return what did not hold."""
    from idempotency.testing.histories import recorded_histories  # only now: they import models
    from proof.chaos import verdict
    from proof.chaos.clients import Clients, wait_until_up
    from proof.chaos.people import make_riders

    clients = Clients(options.port, make_riders(RIDERS, BAD_CARDS), seed=1)
    with recorded_histories():
        with serving(world):
            wait_until_up(options.port, within_seconds=START_WITHIN_SECONDS)
            processes = processes_of(world)
            seconds, back_at = under_load(
                clients, lambda: let_happen(world, clients, options.switchovers)
            )
            verdict.wait_for_keys()
            verdict.tell_everybody(clients)
            seconds_of_jobs = verdict.wait_for_jobs()
            restarted = processes ^ processes_of(world)
        report(clients, seconds, seconds_of_jobs)
        return [
            *(f"the first 201 after {s:.1f} s" for s in seconds if s > BOOKED_WITHIN_SECONDS),
            *(f"{n} times {what}" for what, n in clients.told.items() if what not in ANSWERS),
            *(f"503 after the restart: {at - back_at:.1f} s" for at in late(clients, back_at)),
            *complaints(world),
            *(f"not there from beginning to end: {process}" for process in restarted),
            *verdict.violations_of(clients.bookings),
        ]


def under_load(clients: "Clients", work: Callable[[], T]) -> T:
    stop = threading.Event()
    traffic = threading.Thread(target=clients.run, args=[CLIENTS, stop])
    traffic.start()
    try:
        return work()
    finally:
        stop.set()
        traffic.join()
        connections.close_all()


def let_happen(world: World, clients: "Clients", switchovers: int) -> tuple[list[float], float]:
    """Return after how many seconds a ride was booked, for each promotion; and when the restarted
    server was back.
    """
    seconds = []
    for disaster in world.pair.disasters(switchovers):
        time.sleep(LOAD_BEFORE_SECONDS)
        disaster()
        seconds.append(first_booked_after(world.pair.promoted_at, clients))
    for restart in world.pair.restarts:
        time.sleep(LOAD_BEFORE_SECONDS)
        restart()
    back_at = time.monotonic()
    time.sleep(LOAD_BEFORE_SECONDS)
    return seconds, back_at


def late(clients: "Clients", back_at: float) -> list[float]:
    return [sent_at for sent_at in clients.refused_at if sent_at > back_at]


def complaints(world: World) -> list[str]:
    """What the processes logged for somebody to look at."""
    logs = [world.folder / f"{service}.log" for service in LASTING]
    lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
    return [line for line in lines if COMPLAINT.search(line)]


def first_booked_after(moment: float, clients: "Clients") -> float:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        later = [at for at in clients.booked_at[-1000:] if at > moment]
        if later:
            return min(later) - moment
        time.sleep(LOOK_AGAIN_SECONDS)
    return PATIENCE_SECONDS


def processes_of(world: World) -> set[tuple[int, str]]:
    """The service's processes, the API's own among them: each one's number and command."""
    roots = [psutil.Process(world.processes[service].process.pid) for service in LASTING]
    children = [child for root in roots for child in root.children(recursive=True)]
    return {(process.pid, " ".join(process.cmdline()[-2:])) for process in (*roots, *children)}


def report(clients: "Clients", seconds: list[float], seconds_of_jobs: float) -> None:
    told = " ".join(f"{what}={n}" for what, n in sorted(clients.told.items()))
    sys.stdout.write(f"keys={len(clients.bookings)} {told}\n")
    sys.stdout.write(f"every receipt was sent {seconds_of_jobs:.0f} s later\n")
    after = " ".join(f"{each:.2f}" for each in seconds)
    sys.stdout.write(f"{len(seconds)} switchovers, the first 201 after seconds: {after}\n")


if __name__ == "__main__":
    sys.exit(main())
