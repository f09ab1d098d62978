"""More bookings than the service can take: how many it serves in time, and when it is well again.

Clients begin at three times its rate, give up after five seconds and try the same key again, three
times. Then they begin at a third of it.
"""

import statistics
from dataclasses import dataclass

from bench import costs
from bench.contestants.ours import OURS
from bench.rate import Try, send_at_rate, served_within
from bench.report import drawn
from bench.world import World

TIMES_ITS_CAPACITY = 3
CAPACITY_CLIENTS = 8
CAPACITY_SECONDS = 3
IN_TIME_SECONDS = 2.0
SETTLED_AFTER_SECONDS = 2.0
RECOVERED_AFTER_SECONDS = 5.0

HEADINGS = (
    "load",
    "begun, a second",
    "served in time, a second",
    "of capacity",
    "first try",
    "p50 ms",
    "p99 ms",
    "refused, p50 ms",
    "memory, MB",
)


@dataclass(frozen=True)
class Overload:
    """What was sent in two rows, and the rides a second that 8 clients are answered."""

    capacity: float
    during: list[Try]
    seconds: float
    after: list[Try]
    memory_mb: tuple[float, float]

    @property
    def served(self) -> float:
        """Of its capacity, once the overload has lasted for two seconds."""
        begin, end = SETTLED_AFTER_SECONDS, self.seconds
        return served_within(self.during, IN_TIME_SECONDS, begin, end) / self.capacity

    @property
    def first_tries_after(self) -> float:
        """The share of requests that were booked at the first try, five seconds after."""
        begun = [t for t in self.after if t.sent_at >= RECOVERED_AFTER_SECONDS or t.number]
        return sum(t.status == 201 and not t.number for t in begun) / max(1, len(begun))


def measure_overload(world: World, seconds: float) -> Overload:
    world.set_latency(0)
    server = OURS.server(world)
    answers = OURS.load(server, clients=CAPACITY_CLIENTS, latency_ms=0, seconds=CAPACITY_SECONDS)
    capacity = answers.statuses.get("201", 0) / answers.seconds
    before = costs.memory_mb(server)
    during = send_at_rate(server.url, rate=TIMES_ITS_CAPACITY * capacity, seconds=seconds)
    memory = (before, costs.memory_mb(server))
    seconds_after = RECOVERED_AFTER_SECONDS + 3
    after = send_at_rate(server.url, rate=capacity / 3, seconds=seconds_after)
    return Overload(capacity, during, seconds, after, memory)


def overload_table(found: Overload) -> str:
    before, after = found.memory_mb
    rows = [
        ("three times its capacity", found.during, found.seconds, f"{before:.0f} → {after:.0f}"),
        ("a third of it, after that", found.after, RECOVERED_AFTER_SECONDS + 3, ""),
    ]
    return drawn([HEADINGS, *(_row(found.capacity, *row) for row in rows)])


def _row(
    capacity: float, name: str, tries: list[Try], seconds: float, memory: str
) -> tuple[str, ...]:
    served = served_within(tries, IN_TIME_SECONDS, SETTLED_AFTER_SECONDS, seconds)
    first = [each for each in tries if not each.number]
    booked = sorted(each.seconds for each in tries if each.status == 201) or [0.0]
    refused = [each.seconds for each in tries if each.status == 503]
    return (
        name,
        f"{len(first) / seconds:.0f}",
        f"{served:.0f}",
        f"{served / capacity:.2f}",
        f"{sum(each.status == 201 for each in first) / len(first):.0%}",
        f"{1000 * statistics.median(booked):.1f}",
        f"{1000 * booked[int(0.99 * (len(booked) - 1))]:.1f}",
        f"{1000 * statistics.median(refused):.1f}" if refused else "",
        memory,
    )
