"""What this process has counted since it last told the database: requests, phases, answers.

Counted in memory, since a replay writes nothing and nothing else is to cost a statement; every ten
seconds `pulse` adds it to the rollup. A process that is killed takes its last seconds with it.
"""

import bisect
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple

from idempotency.support.context import IN_CELL
from idempotency.watched import LIMITS

LIKE_A_STATUS = re.compile(r"[A-Za-z0-9_.-]{1,40}")

OF_A_CLAIM = ("claimed", "retried", "taken_by_completer", "taken_by_reaper", "reviewed")


class Series(NamedTuple):
    """What is counted under one name."""

    what: str
    """`request`, `phase`, `failure`, `claim`, `job`, `refusal`, or `answer` of a foreign system."""
    operation: str
    name: str
    outcome: str


@dataclass
class Tally:
    """How often, and how long it took."""

    count: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(LIMITS) + 1))

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds
        self.buckets[bisect.bisect_left(LIMITS, seconds)] += 1

    def merge(self, other: "Tally") -> None:
        self.count += other.count
        self.seconds += other.seconds
        self.buckets = [mine + more for mine, more in zip(self.buckets, other.buckets, strict=True)]


class Counts:
    """The tallies of a process, of each cell that it works in."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._tallies: dict[str, dict[Series, Tally]] = defaultdict(lambda: defaultdict(Tally))

    def add(self, series: Series, seconds: float = 0.0) -> None:
        with self._lock:
            self._tallies[IN_CELL.get()][series].add(seconds)

    def take(self) -> dict[Series, Tally]:
        """Return all that was counted in this cell, and begin anew."""
        with self._lock:
            return self._tallies.pop(IN_CELL.get(), {})

    def put_back(self, taken: Mapping[Series, Tally]) -> None:
        """Have what could not be told be told the next time."""
        with self._lock:
            for series, tally in taken.items():
                self._tallies[IN_CELL.get()][series].merge(tally)


COUNTS = Counts()


def _begin_in_the_child() -> None:
    global COUNTS
    COUNTS = Counts()  # what was counted before the fork is the parent's to tell


os.register_at_fork(after_in_child=_begin_in_the_child)


# Receivers of the signals.


def count_answer(*, operation: str, outcome: str, seconds: float, source: str, **_: Any) -> None:
    COUNTS.add(Series("request", operation, source, outcome), seconds)


def count_entries(*, key: Any, entries: Sequence[Mapping[str, Any]], **_: Any) -> None:
    for entry in entries:
        seconds = entry.get("ms", 0.0) / 1000
        COUNTS.add(Series(what_of(entry), key.operation, str(entry["event"]), ""), seconds)
        for call in entry.get("calls", ()):
            COUNTS.add(Series("answer", key.operation, "", status_of(call)))


def what_of(entry: Mapping[str, Any]) -> str:
    """Return what an entry of the journal tells of: a claim, a failure, or a phase."""
    if entry["event"] in OF_A_CLAIM:
        return "claim"
    return "failure" if "error" in entry else "phase"


def status_of(call: Mapping[str, Any]) -> str:
    """Return the status that an answer is counted under: a number, or a word like one.

    What it is a foreign system may say, and a name that no column takes would be in the way of
    everything else that is to be told.
    """
    if call.get("replayed"):
        return "replayed"
    status = str(call.get("status", "none"))
    return status if LIKE_A_STATUS.fullmatch(status) else "other"


def count_job(*, job_name: str, outcome: str, seconds: float, **_: Any) -> None:
    COUNTS.add(Series("job", "", job_name, outcome), seconds)


# Called by whoever refuses.


def count_refusal(code: str) -> None:
    """Count a request that is answered before any view: for a server that refuses by itself."""
    COUNTS.add(Series("refusal", "", code, ""))
