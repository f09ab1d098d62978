"""The table at the end of a chaos run, and what makes the run fail."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from proof.chaos.nemeses import NEMESES

MOST_SHOWN = 10
KEYS_AT_REST_WITHIN_SECONDS = 60.0
UNEXPECTED = "500"


@dataclass(frozen=True)
class Sighting:
    """Something that a run must have seen, so that its silence means something.

    `comes_of` has words, one of which is in the name of each nemesis that can cause it. Without
    any, it comes of the load alone.
    """

    name: str
    count: int
    wanted_a_minute: float
    comes_of: tuple[str, ...] = ()

    def can_come_of(self, nemeses: Iterable[str]) -> bool:
        return not self.comes_of or any(map(self.comes_of_this, nemeses))

    def comes_of_this(self, nemesis: str) -> bool:
        return any(word in nemesis for word in self.comes_of)

    def is_missing(self, minutes: float, nemeses: list[str]) -> bool:
        """Whether a run of so many minutes, in which these things could happen, must see more.

        So many where everything happens. Of a part of it nobody knows how many there should be, but
        what can come of it must be seen at all.
        """
        wanted = self.wanted_a_minute * minutes
        if len(nemeses) < len(NEMESES):
            wanted = min(wanted, 1)
        return self.can_come_of(nemeses) and self.count < wanted


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was tried, what happened, what was seen, and what did not hold."""

    minutes_asked_for: float
    minutes: float
    keys: int
    told: Counter[str]
    nemeses: list[str]
    happened: Counter[str]
    seconds_of_keys: float
    seconds_of_jobs: float
    sightings: list[Sighting]
    violations: list[str]

    @property
    def answers(self) -> dict[str, int]:
        return {
            what: n for what, n in sorted(self.told.items()) if what not in ("replays", "fenced")
        }

    @property
    def failures(self) -> list[str]:
        return [*self.violations, *self._too_late(), *self._errors(), *self._not_seen()]

    def _too_late(self) -> Iterator[str]:
        if self.seconds_of_keys >= KEYS_AT_REST_WITHIN_SECONDS:
            yield f"keys are unfinished after {KEYS_AT_REST_WITHIN_SECONDS:g} s"

    def _errors(self) -> Iterator[str]:
        """A fault is answered with 503 or 409; a 500 is an error that nobody thought of."""
        for status, count in self.answers.items():
            if status == UNEXPECTED or (status.startswith("5") and not self.nemeses):
                yield f"{count} answers with status {status}"

    def _not_seen(self) -> Iterator[str]:
        for sighting in self.sightings:
            if sighting.is_missing(self.minutes_asked_for, self.nemeses):
                yield f"not seen often enough: {sighting.name}"

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores",
                row("minutes", round(self.minutes, 1)),
                row("keys", self.keys),
                row("requests", sum(self.answers.values())),
                *(row(f"  {what}", count) for what, count in self.answers.items()),
                "what happened",
                *(row(f"  {what}", count) for what, count in sorted(self.happened.items())),
                "what was seen",
                *(row(f"  {sighting.name}", sighting.count) for sighting in self.sightings),
                row("seconds until every key was finished", round(self.seconds_of_keys, 1)),
                row("seconds until every receipt was sent", round(self.seconds_of_jobs, 1)),
                row("violations", len(self.violations)),
                *(f"  {failure}" for failure in self.failures[:MOST_SHOWN]),
            ]
        )


def row(name: str, value: float) -> str:
    return f"{name:<46}{value:>8}"
