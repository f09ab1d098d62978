"""The table: what was measured, a line for each contestant and cell.

Apart from the measuring, which knows nothing of medians, and from the targets, which judge.
"""

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.contestants import Contestant
from bench.costs import OTHERS
from bench.measuring import Cell, Run

# The process groups whose time a service is charged for; the others are the benchmark's own.
PAID_FOR = ("service", "PostgreSQL")

# The processors' time is in milliseconds for each good answer.
HEADINGS = (
    "contestant",
    "clients",
    "Stripe, ms",
    "answers/s",
    "of rounds",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "refused",
    "statements",
    "commits",
    "CPU ms: service",
    "PostgreSQL",
    "Stripe",
    "load",
    "memory, MB",
    "connections",
)


@dataclass(frozen=True)
class Line:
    """A contestant in a cell: medians over its rounds, and the sum of what was refused."""

    contestant: Contestant
    cell: Cell
    runs: Sequence[Run]
    statements: float
    commits: float

    @property
    def rates(self) -> list[float]:
        """Good answers a second, by round."""
        return [self._good(run) / run.answers.seconds for run in self.runs]

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def p50_ms(self) -> float:
        return statistics.median(run.answers.p50_ms for run in self.runs)

    @property
    def p95_ms(self) -> float:
        return statistics.median(run.answers.p95_ms for run in self.runs)

    @property
    def p99_ms(self) -> float:
        return statistics.median(run.answers.p99_ms for run in self.runs)

    @property
    def connections(self) -> int:
        return max(run.connections for run in self.runs)

    @property
    def refused(self) -> dict[str, int]:
        """How many answers were none of those expected, by status, in all rounds."""
        refused: dict[str, int] = {}
        for run in self.runs:
            for status, count in run.answers.statuses.items():
                if status != self.contestant.expected:
                    refused[status] = refused.get(status, 0) + count
        return refused

    @property
    def cost_ms(self) -> float:
        """What a good answer takes of the processors: the service's and PostgreSQL's time."""
        return self.cpu_ms(*PAID_FOR)

    def cpu_ms(self, *groups: str) -> float:
        """Of some process groups, for each good answer."""
        return statistics.median(
            1000 * sum(run.cpu_seconds[group] for group in groups) / max(1, self._good(run))
            for run in self.runs
        )

    def _good(self, run: Run) -> int:
        return run.answers.statuses.get(self.contestant.expected, 0)

    def columns(self) -> tuple[str, ...]:
        rates = [f"{rate:.0f}" for rate in sorted(self.rates)]
        refused = ", ".join(f"{count} of {status}" for status, count in self.refused.items())
        before, after = self.runs[0].memory_before_mb, self.runs[-1].memory_after_mb
        return (
            self.contestant.title,
            str(self.cell.clients),
            str(self.cell.latency_ms),
            f"{self.rate:.0f}",
            f"{rates[0]} to {rates[-1]}",
            f"{self.p50_ms:.1f}",
            f"{self.p95_ms:.1f}",
            f"{self.p99_ms:.1f}",
            refused or "none",
            f"{self.statements:g}",
            f"{self.commits:g}",
            *(f"{self.cpu_ms(group):.2f}" for group in ("service", "PostgreSQL", "Stripe", "load")),
            f"{before:.0f} → {after:.0f}" if after else "",
            str(self.connections),
        )


def table(lines: Sequence[Line]) -> str:
    """Everything that was measured, a row for each line."""
    return drawn([HEADINGS, *(line.columns() for line in lines)])


def others(lines: Sequence[Line]) -> str:
    """How much of the processors somebody else had in the meantime: the less, the truer."""
    runs = [run for line in lines for run in line.runs]
    spent = sum(run.cpu_seconds[OTHERS] for run in runs)
    share = spent / sum(run.answers.seconds for run in runs) / (os.cpu_count() or 1)
    return f"other processes had {max(0, share):.0%} of the processors during the runs"


def drawn(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, aligned so that it can be read as it is. The first row is its head."""
    head, *others = rows
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(_row(row, widths) for row in (head, rule, *others))


def _row(values: Sequence[str], widths: Sequence[int]) -> str:
    cells = (value.ljust(width) for value, width in zip(values, widths, strict=True))
    return f"| {' | '.join(cells)} |"
