"""What a cell costs: `python -m bench.cells`, rides on plain PostgreSQL and in a cell on Citus.

The same API and the same clients, in turn: on a PostgreSQL of its own, in a cell by way of the node
that has it, and by way of another node. All of it is on this machine, so compare the columns.
`CITUS` names a build of Citus.
"""

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psutil  # type: ignore[import-untyped]
import requests

from bench.processes import end_in_order_when_told, environment, migrate, running_api
from bench.world import seed_riders
from sandbox import postgres
from sandbox.cells.cluster import Cluster
from sandbox.stripe.control import StandIn
from sandbox.stripe.process import running_stand_in

CLIENTS = 8
ROUNDS = 5
SECONDS = 6.0
COORDINATES = {"origin_lat": "0", "origin_lon": "0", "target_lat": "0", "target_lon": "0"}


@dataclass
class Way:
    """An API, the servers behind it, and what was measured of both."""

    name: str
    url: str
    api: psutil.Process
    servers: list[Path]
    rates: list[float] = field(default_factory=list)
    service_ms: list[float] = field(default_factory=list)
    postgres_ms: list[float] = field(default_factory=list)


def main() -> None:
    end_in_order_when_told()
    with tempfile.TemporaryDirectory(prefix="cells-") as folder, running_stand_in() as stand_in:
        Path(folder).chmod(0o711)
        with ExitStack() as stack:
            ways = [
                stack.enter_context(plain(Path(folder), stand_in)),
                *stack.enter_context(in_a_cell(Path(folder), stand_in)),
            ]
            for way in ways:
                measure(way)
                way.rates, way.service_ms, way.postgres_ms = [], [], []  # that was to warm up
            for _ in range(ROUNDS):
                for way in ways:
                    measure(way)
    print("| way | rides a second | of plain | service, ms a ride | PostgreSQL, ms a ride |")
    print("| --- | ---: | ---: | ---: | ---: |")
    usual = statistics.median(ways[0].rates)
    for way in ways:
        rate, service, database = map(
            statistics.median, (way.rates, way.service_ms, way.postgres_ms)
        )
        print(f"| {way.name} | {rate:.0f} | {rate / usual:.2f} | {service:.2f} | {database:.2f} |")


@contextmanager
def plain(folder: Path, stand_in: StandIn) -> Iterator[Way]:
    data = folder / "plain"
    with postgres.in_use(data):
        own = environment(postgres.url(data.resolve(), postgres.DATABASE), stand_in)
        migrate(own)
        seed_riders(own["DATABASE_URL"], stand_in)
        with booked_at("plain PostgreSQL", own, stand_in, [data]) as way:
            yield way


@contextmanager
def in_a_cell(folder: Path, stand_in: StandIn) -> Iterator[list[Way]]:
    cluster = Cluster(folder / "nodes", numbers=(1,))
    [cell] = cluster.cells
    with cluster.running(), ExitStack() as stack:
        cluster.make_cells(environment(cluster.coordinator.url, stand_in))
        seed_riders(f"{cluster.coordinator.url}&options=-csearch_path%3D{cell.schema}", stand_in)
        servers = [node.folder for node in (cluster.coordinator, *cluster.nodes)]
        ways = []
        here = cluster.node_of(cell)
        other = next(node for node in cluster.nodes if node != here)
        for name, node in (("by the cell's own node", here), ("by another node", other)):
            own = environment(node.url, stand_in) | {"DATABASE_SCHEMA": cell.schema}
            way = booked_at(f"a cell, {name}", own, stand_in, servers)
            ways.append(stack.enter_context(way))
        yield ways


@contextmanager
def booked_at(
    name: str, own: dict[str, str], stand_in: StandIn, servers: list[Path]
) -> Iterator[Way]:
    before = {process.pid for process in psutil.Process().children()}
    with running_api(own) as url:
        [api] = [p for p in psutil.Process().children() if p.pid not in before and is_api(p)]
        yield Way(name, url, api, servers)


def is_api(process: psutil.Process) -> bool:
    return "granian" in " ".join(process.cmdline())


def measure(way: Way) -> None:
    before, began_at = (cpu_of_tree(way.api), cpu_of(way.servers)), time.monotonic()
    booked: list[int] = []
    clients = [threading.Thread(target=book, args=[way.url, n, booked]) for n in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    took, rides = time.monotonic() - began_at, sum(booked)
    way.rates.append(rides / took)
    way.service_ms.append((cpu_of_tree(way.api) - before[0]) * 1000 / rides)
    way.postgres_ms.append((cpu_of(way.servers) - before[1]) * 1000 / rides)


def book(url: str, number: int, booked: list[int]) -> None:
    session, count, until = requests.Session(), 0, time.monotonic() + SECONDS
    while time.monotonic() < until:
        headers = {"Authorization": f"rider-{number}@example.com", "Idempotency-Key": uuid4().hex}
        answer = session.post(f"{url}/rides", data=COORDINATES, headers=headers, timeout=30)
        assert answer.status_code == 201, answer.text
        count += 1
    booked.append(count)


def cpu_of(servers: list[Path]) -> float:
    """Return the processor time of servers so far, in seconds: of sessions that ended, too."""
    return sum(
        cpu_of_tree(process) for server in servers if (process := postgres.server_process(server))
    )


def cpu_of_tree(process: psutil.Process) -> float:
    family = [process, *process.children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in family) + sum(process.cpu_times()[2:4])


if __name__ == "__main__":
    main()
