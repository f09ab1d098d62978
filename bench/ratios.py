"""Who does how many times as much as whom: what safety costs first, then the other ratios."""

from collections.abc import Iterable, Sequence

from bench.measuring import Cell
from bench.report import Line, drawn

RATIOS = (
    ("ours", "dbos"),
    ("ours-pinned", "dbos-pinned"),
    ("ours", "floor"),
    ("ours", "floor-prepared"),
    ("ours-pinned", "ours"),
    ("ours-psycopg", "ours"),
    ("ours", "wsgi"),
    ("ours", "packaged"),
    ("replays", "plain"),
)
PRICE = (
    "clients",
    "Stripe, ms",
    "rides/s: ours",
    "unsafe",
    "ours / unsafe",
    "CPU ms a ride: ours",
    "unsafe",
    "unsafe / ours",
)

Lines = dict[tuple[str, Cell], Line]


def by_contestant(lines: Iterable[Line]) -> Lines:
    return {(line.contestant.name, line.cell): line for line in lines}


def rate_ratio(known: Lines, one: str, other: str, cell: Cell) -> float | None:
    """How many times as many answers `one` gives in a second; None where it was not measured."""
    ours, theirs = known.get((one, cell)), known.get((other, cell))
    return ours.rate / theirs.rate if ours and theirs and theirs.rate else None


def cost_ratio(known: Lines, one: str, other: str, cell: Cell) -> float | None:
    """How many times as many answers `one` gives for the same processor time.

    Steadier than the rate: what a process waited for is not in it.
    """
    ours, theirs = known.get((one, cell)), known.get((other, cell))
    return theirs.cost_ms / ours.cost_ms if ours and theirs and ours.cost_ms else None


def price_of_safety(lines: Sequence[Line]) -> str:
    """A table of ours beside the unsafe view, in each cell that has both."""
    known = by_contestant(lines)
    cells = sorted({line.cell for line in lines})
    both = [cell for cell in cells if ("ours", cell) in known and ("unsafe", cell) in known]
    return drawn([PRICE, *(_price(known, cell) for cell in both)])


def ratios(lines: Sequence[Line]) -> str:
    """A table of who is how many times as fast as whom, in each cell."""
    known = by_contestant(lines)
    cells = sorted({line.cell for line in lines})
    rows = [("clients", "Stripe, ms", *(f"{one} / {other}" for one, other in RATIOS))]
    for cell in cells:
        shares = (rate_ratio(known, one, other, cell) for one, other in RATIOS)
        rows.append((str(cell.clients), str(cell.latency_ms), *map(_shown, shares)))
    return drawn(rows)


def _price(known: Lines, cell: Cell) -> tuple[str, ...]:
    ours, unsafe = known["ours", cell], known["unsafe", cell]
    return (
        str(cell.clients),
        str(cell.latency_ms),
        f"{ours.rate:.0f}",
        f"{unsafe.rate:.0f}",
        _shown(rate_ratio(known, "ours", "unsafe", cell)),
        f"{ours.cost_ms:.2f}",
        f"{unsafe.cost_ms:.2f}",
        _shown(cost_ratio(known, "ours", "unsafe", cell)),
    )


def _shown(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"
