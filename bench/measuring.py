"""Measuring: rounds over the contestants, by whom, in which cell, and how often.

The contestants take turns in every round, so that whatever disturbs the machine disturbs them all,
and the figures are medians over the rounds.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from bench import costs, database
from bench.contestants import Contestant
from bench.load import Answers
from bench.world import Server, World

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
    `costs.OTHERS` is whoever else was on the machine.
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
    """Have it answer a tenth of `requests` to get warm, and then all of them."""
    world.set_latency(0)
    server = contestant.server(world)
    _answer(contestant, server, requests // 10)
    before = costs.memory_mb(server)
    answered = _answer(contestant, server, requests)
    return Growth(answered, before, costs.memory_mb(server))


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
    groups = costs.groups(server, world.stand_in)
    before, memory_before = costs.cpu_seconds(groups), costs.memory_mb(server)
    with costs.watching_connections(server.database) as connections:
        answers = contestant.load(
            server, clients=cell.clients, latency_ms=cell.latency_ms, seconds=seconds
        )
    after, memory_after = costs.cpu_seconds(groups), costs.memory_mb(server)
    costs.wait_until_at_rest(groups, cell.latency_ms / 1000)
    return Run(
        answers=answers,
        cpu_seconds={name: after[name] - before[name] for name in after},
        memory_before_mb=memory_before,
        memory_after_mb=memory_after,
        connections=connections.value,
    )
