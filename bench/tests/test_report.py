"""The report, of figures that are made up: what safety costs, and what the targets say to it."""

import pytest

from bench.costs import OTHERS
from bench.load import Answers
from bench.measuring import Cell, Run
from bench.ratios import price_of_safety, ratios
from bench.report import Line
from bench.targets import targets
from bench.tests.conftest import contestant

CELLS = (Cell(0, 8), Cell(0, 32))
SECONDS = 2.0


def run(rate: int, cpu_ms: float) -> Run:
    """A round of `rate` rides a second, each of `cpu_ms`: two thirds of it the service's."""
    rides = int(rate * SECONDS)
    spent = {"service": 2 / 3, "PostgreSQL": 1 / 3}
    return Run(
        answers=Answers(
            seconds=SECONDS, statuses={"201": rides}, p50_ms=10.0, p95_ms=15.0, p99_ms=20.0
        ),
        cpu_seconds={
            **{name: share * rides * cpu_ms / 1000 for name, share in spent.items()},
            **dict.fromkeys(("Stripe", "load", OTHERS), 0.1),
        },
        memory_before_mb=200,
        memory_after_mb=200,
        connections=16,
    )


def lines(name: str, *rounds: tuple[int, float]) -> list[Line]:
    runs = [run(*each) for each in rounds]
    return [Line(contestant(name), cell, runs, 9, 2) for cell in CELLS]


def cells_of(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in row.strip("| ").split("|")] for row in table.splitlines()[2:]]


def verdicts(measured: list[Line]) -> dict[str, str]:
    rows = cells_of(targets(measured, None, None))
    return {row[0]: row[2] for row in rows}


def of_safety(measured: list[Line]) -> str:
    return next(v for demand, v in verdicts(measured).items() if "unsafe" in demand)


def test_the_price_of_safety_is_a_rate_and_a_processor_time_by_the_medians_of_the_rounds():
    ours = lines("ours", (500, 4.0), (100, 40.0), (510, 4.2))
    unsafe = lines("unsafe", (600, 3.6), (625, 3.0), (50, 36.0))

    price = cells_of(price_of_safety(ours + unsafe))

    assert price == [
        ["8", "0", "500", "600", "0.83", "4.20", "3.60", "0.86"],
        ["32", "0", "500", "600", "0.83", "4.20", "3.60", "0.86"],
    ]


def test_a_run_without_the_unsafe_view_has_no_price():
    assert cells_of(price_of_safety(lines("ours", (500, 4.0)))) == []


@pytest.mark.parametrize(
    ("cpu_ms", "verdict"),
    [(3.9, "met"), (4.2, "from 0.84 on: `make bench-profile`"), (4.4, "MISSED")],
)
def test_the_price_that_is_met_or_explained_or_missed(cpu_ms: float, verdict: str):
    measured = lines("ours", (500, cpu_ms)) + lines("unsafe", (600, 3.6))

    assert of_safety(measured).startswith(verdict)


def test_a_price_of_one_cell_is_not_measured():
    measured = lines("ours", (500, 3.6)) + lines("unsafe", (600, 3.6))

    assert of_safety(measured[:1] + measured[2:]) == "not measured"


def test_dbos_comes_before_the_floor():
    (first, *_) = cells_of(ratios(lines("ours", (500, 4.0)) + lines("dbos", (100, 20.0))))

    assert first[:3] == ["8", "0", "5.00"]


def test_an_answer_refused_by_any_row_of_ours_misses_the_target():
    pinned = lines("ours-pinned", (500, 4.0))
    for line in pinned:
        for each in line.runs:
            each.answers.statuses["503"] = 1

    assert "MISSED" in verdicts(lines("ours", (500, 4.0)) + pinned).values()
