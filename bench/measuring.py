"""Measuring: rounds over the contestants, and what each run cost in the processes that took part.

The contestants take turns in every round, so that whatever disturbs the machine disturbs them all,
and the figures are medians over the rounds.
"""

import math
import resource
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

from bench import database
from bench.contestants import Contestant
from bench.load import Answers
from bench.world import Server, World

OTHERS = "others"
LOOK_EVERY_SECONDS = 0.2
AT_REST = 0.1  # of a processor
REST_SECONDS_MAX = 60
GROWTH_SECONDS = 5
ASKED = 20  # requests of which the statements are counted


@dataclass(frozen=True, order=True)
class Cell:
    """What is varied: how long Stripe takes for a payment, and how many clients ask at once."""

    latency_ms: int
    clients: int

    @property
    def seconds_to_fill(self) -> int:
        """Until as many answers come as requests go, where a queue builds up first."""
        return math.ceil(self.latency_ms / 150) + self.clients // 64


@dataclass(frozen=True, kw_only=True)
class Run:
    """One contestant in one round. `cpu_seconds` is by the name of the process group, of which
    `OTHERS` is whoever else was on the machine.
    """

    answers: Answers
    cpu_seconds: dict[str, float]
    memory_before_mb: float
    memory_after_mb: float
    connections: int


@dataclass(frozen=True)
class Growth:
    """Of the API's resident memory, over a number of fresh rides."""

    requests: int
    before_mb: float
    after_mb: float


@dataclass
class Peak:
    """The most that was seen."""

    value: int = 0


def measure_rounds(
    world: World, contestants: Iterable[Contestant], cell: Cell, *, rounds: int, seconds: int
) -> dict[str, list[Run]]:
    """The runs of each contestant in a cell, by its name, each of at least `seconds`.

    Where Stripe takes its time, most of the time is waiting, and that is steady: a third of the
    rounds will do.
    """
    world.set_latency(cell.latency_ms)
    rounds = math.ceil(rounds / 3) if cell.latency_ms else rounds
    taking_part = [each for each in contestants if each.asks_stripe or not cell.latency_ms]
    runs: dict[str, list[Run]] = {each.name: [] for each in taking_part}
    for _ in range(rounds):
        for contestant in taking_part:
            run = _measure(world, contestant, cell, seconds + cell.seconds_to_fill)
            runs[contestant.name].append(run)
    return runs


def measure_growth(world: World, contestant: Contestant, requests: int) -> Growth:
    """Has it answer a tenth of `requests` to get warm, and then all of them."""
    world.set_latency(0)
    server = contestant.server(world)
    _answer(contestant, server, requests // 10)
    before = _memory_mb(server)
    answered = _answer(contestant, server, requests)
    return Growth(answered, before, _memory_mb(server))


def _answer(contestant: Contestant, server: Server, requests: int) -> int:
    answered = 0
    while answered < requests:
        answers = contestant.load(server, clients=8, latency_ms=0, seconds=GROWTH_SECONDS)
        good = answers.statuses.get(contestant.expected, 0)
        assert good, answers.statuses
        answered += good
    return answered


def count_statements(world: World, contestant: Contestant) -> tuple[float, float]:
    """Statements and commits of one request, as the database counts them."""
    server = contestant.server(world)
    counted = database.count(server.database, lambda: contestant.ask(server, ASKED))
    return counted.statements / ASKED, counted.commits / ASKED


def _measure(world: World, contestant: Contestant, cell: Cell, seconds: int) -> Run:
    server = contestant.server(world)
    groups = _groups(world, server)
    before, memory_before = _cpu_seconds(groups), _memory_mb(server)
    with _watching_connections(server.database) as connections:
        answers = contestant.load(
            server, clients=cell.clients, latency_ms=cell.latency_ms, seconds=seconds
        )
    after, memory_after = _cpu_seconds(groups), _memory_mb(server)
    _wait_until_at_rest(groups, cell.latency_ms / 1000)
    return Run(
        answers=answers,
        cpu_seconds={name: after[name] - before[name] for name in after},
        memory_before_mb=memory_before,
        memory_after_mb=memory_after,
        connections=connections.value,
    )


def _groups(world: World, server: Server) -> dict[str, psutil.Process | None]:
    return {
        "service": server.process,
        "PostgreSQL": database.process(),
        "Stripe": psutil.Process(world.stand_in.pid),
    }


def _cpu_seconds(groups: dict[str, psutil.Process | None]) -> dict[str, float]:
    """By group; the load generator's are those of this process's ended children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = {name: _of_tree(process) for name, process in groups.items() if process}
    ours = {"service": 0.0, **spent, "load": children.ru_utime + children.ru_stime}
    machine = psutil.cpu_times()
    return {**ours, OTHERS: sum(machine) - machine.idle - machine.iowait - sum(ours.values())}


def _working_seconds(groups: dict[str, psutil.Process | None]) -> float:
    return sum(_of_tree(process) for process in groups.values() if process)


def _of_tree(root: psutil.Process) -> float:
    """Of a process and all its children, those included that have ended."""
    return sum(_of_process(each) for each in _tree(root))


def _of_process(process: psutil.Process) -> float:
    try:
        return sum(process.cpu_times()[:4])
    except psutil.NoSuchProcess:  # it has ended since it was listed, and its parent has its time
        return 0.0


def _memory_mb(server: Server) -> float:
    if server.process is None:
        return 0.0
    return sum(each.memory_info().rss for each in _tree(server.process)) / 2**20


def _tree(root: psutil.Process) -> list[psutil.Process]:
    return [root, *root.children(recursive=True)]


@contextmanager
def _watching_connections(name: str) -> Iterator[Peak]:
    peak, ended = Peak(), threading.Event()

    def watch() -> None:
        with database.counting_connections(name) as count:
            while not ended.wait(LOOK_EVERY_SECONDS):
                peak.value = max(peak.value, count())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def _wait_until_at_rest(groups: dict[str, psutil.Process | None], latency_seconds: float) -> None:
    """Requests whose client has left are still worked on. They must not cost the next contestant.

    Raises: SystemExit, when they are worked on for longer than `REST_SECONDS_MAX`.
    """
    window = LOOK_EVERY_SECONDS + latency_seconds
    deadline = time.monotonic() + REST_SECONDS_MAX
    while time.monotonic() < deadline:
        before = _working_seconds(groups)
        time.sleep(window)
        if _working_seconds(groups) - before < AT_REST * window:
            return
    raise SystemExit("The processes under measurement do not come to rest")
