"""What the figures are measured against: the ratios, and the targets with what was reached.

A target is about the figures of one run on one machine, so it is a ratio wherever it can be.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.measuring import Cell, Growth
from bench.overload import Overload
from bench.report import Line, drawn

LOADED = (Cell(0, 8), Cell(0, 32))
CROWDED = Cell(0, 256)
CROWDED_AND_SLOW = Cell(300, 256)

OF_THE_FLOOR = 0.45
OF_A_PLAIN_VIEW = 0.85
TIMES_DBOS = 6.0
OF_OUR_OWN_RATE = 0.80
CONNECTIONS_MAX = 20
P99_OF_P50_MAX = 4.0
MEMORY_GROWTH_MAX = 0.05
ENDURANCE = 100_000  # rides
OF_UNPROTECTED = 0.90
SERVED_IN_OVERLOAD = 0.80

RATIOS = (
    ("ours", "floor"),
    ("ours", "wsgi"),
    ("ours", "floor-prepared"),
    ("ours", "dbos"),
    ("ours", "dbos-pinned"),
    ("ours", "packaged"),
    ("replays", "plain"),
)

Lines = dict[tuple[str, Cell], Line]


@dataclass(frozen=True)
class Target:
    """`is_met` is None where the run did not measure it."""

    demand: str
    found: str
    is_met: bool | None

    @property
    def verdict(self) -> str:
        return {True: "met", False: "MISSED", None: "not measured"}[self.is_met]


def ratios(lines: Sequence[Line]) -> str:
    """A table of who does how many times as much as whom, in each cell."""
    known = _by_contestant(lines)
    cells = sorted({line.cell for line in lines})
    rows = [("clients", "Stripe, ms", *(f"{one} / {other}" for one, other in RATIOS))]
    for cell in cells:
        shares = (_ratio(known, one, other, cell) for one, other in RATIOS)
        shown = ("" if share is None else f"{share:.2f}" for share in shares)
        rows.append((str(cell.clients), str(cell.latency_ms), *shown))
    return drawn(rows)


def targets(lines: Sequence[Line], growth: Growth | None, overload: Overload | None) -> str:
    """A table of the targets, each with what was reached and whether that is enough."""
    known = _by_contestant(lines)
    judged = [
        _share_target(known, "ours", "floor", OF_THE_FLOOR, "fresh rides, of the floor's rate"),
        _refusals_target(known),
        _share_target(
            known, "replays", "plain", OF_A_PLAIN_VIEW, "replays, of a plain view's rate"
        ),
        _share_target(known, "ours", "dbos", TIMES_DBOS, "fresh rides, of DBOS's rate"),
        _crowd_target(known),
        _tail_target(known),
        _memory_target(growth),
        _share_target(
            known, "ours", "wsgi", OF_UNPROTECTED, "fresh rides, of their rate without the door"
        ),
        _overload_target(overload),
    ]
    rows = [("target", "reached", "")]
    return drawn([*rows, *((each.demand, each.found, each.verdict) for each in judged)])


def _share_target(known: Lines, one: str, other: str, least: float, what: str) -> Target:
    shares = {cell: _ratio(known, one, other, cell) for cell in LOADED}
    return _target(
        f"{what}, at 0 ms and 8 and 32 clients: at least {least:g}",
        shares,
        lambda share: share >= least,
    )


def _tail_target(known: Lines) -> Target:
    tails = {
        cell: line.p99_ms / line.p50_ms for cell in LOADED if (line := known.get(("ours", cell)))
    }
    return _target(
        f"fresh rides, p99 of p50, at 0 ms and 8 and 32 clients: at most {P99_OF_P50_MAX:g}",
        {cell: tails.get(cell) for cell in LOADED},
        lambda tail: tail <= P99_OF_P50_MAX,
    )


def _refusals_target(known: Lines) -> Target:
    ours = [line for (name, _), line in known.items() if name in ("ours", "replays")]
    refused = sum(sum(line.refused.values()) for line in ours)
    return Target(
        "no 409, no 5xx and no broken connection, in any cell: none",
        f"{refused} refused" if refused else "none" if ours else "",
        refused == 0 if ours else None,
    )


def _crowd_target(known: Lines) -> Target:
    demand = (
        f"at 300 ms and 256 clients, on at most {CONNECTIONS_MAX} connections: at least "
        f"{OF_OUR_OWN_RATE:g} of the rate at 0 ms"
    )
    slow, quick = known.get(("ours", CROWDED_AND_SLOW)), known.get(("ours", CROWDED))
    if slow is None or quick is None:
        return Target(demand, "", None)
    share = slow.rate / quick.rate
    return Target(
        demand,
        f"{share:.2f} on {slow.connections}",
        share >= OF_OUR_OWN_RATE and slow.connections <= CONNECTIONS_MAX,
    )


def _memory_target(growth: Growth | None) -> Target:
    demand = f"the API's memory, over {ENDURANCE:,} rides: grown by at most {MEMORY_GROWTH_MAX:.0%}"
    if growth is None:
        return Target(demand, "", None)
    share = growth.after_mb / growth.before_mb - 1
    return Target(
        demand,
        f"{share:+.1%} over {growth.requests:,}: {growth.before_mb:.0f} → {growth.after_mb:.0f} MB",
        share <= MEMORY_GROWTH_MAX if growth.requests >= ENDURANCE else None,
    )


def _overload_target(overload: Overload | None) -> Target:
    demand = (
        f"at three times its capacity, of that served within 2 s: at least {SERVED_IN_OVERLOAD:g}; "
        "and 5 s after, all at the first try"
    )
    if overload is None:
        return Target(demand, "", None)
    return Target(
        demand,
        f"{overload.served:.2f} and {overload.first_tries_after:.0%}",
        overload.served >= SERVED_IN_OVERLOAD and overload.first_tries_after == 1,
    )


def _target(
    demand: str, found: dict[Cell, float | None], is_enough: Callable[[float], bool]
) -> Target:
    values = [value for value in found.values() if value is not None]
    return Target(
        demand,
        " and ".join(f"{value:.2f}" for value in values),
        all(map(is_enough, values)) if len(values) == len(found) else None,
    )


def _ratio(known: Lines, one: str, other: str, cell: Cell) -> float | None:
    ours, theirs = known.get((one, cell)), known.get((other, cell))
    return ours.rate / theirs.rate if ours and theirs and theirs.rate else None


def _by_contestant(lines: Iterable[Line]) -> Lines:
    return {(line.contestant.name, line.cell): line for line in lines}
