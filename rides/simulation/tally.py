"""What the simulator's clients were answered, how often and how fast, and how that is shown.

Apart from the clients, because they count from many threads, and only this needs a lock.
"""

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from http.client import responses

LATENCIES_KEPT = 100_000  # of each kind of answer, the latest


class Tally:
    """Counts answers; safe to use from any number of threads."""

    def __init__(self) -> None:
        self._answers: Counter[str] = Counter()
        self._latencies: defaultdict[str, deque[float]] = defaultdict(
            lambda: deque(maxlen=LATENCIES_KEPT)
        )
        self._replays = 0
        self._started_at = time.monotonic()
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        with self._lock:
            return self._answers.total()

    def count(self, answer: str, seconds: float) -> None:
        """Count one answer, by its HTTP status or in words, and the `seconds` that it took."""
        with self._lock:
            self._answers[answer] += 1
            self._latencies[answer].append(seconds)

    def count_replay(self) -> None:
        with self._lock:
            self._replays += 1

    def line(self) -> str:
        """Return the counts on one line, such as ``requests=12 201=6 500=6 replays=2``."""
        with self._lock:
            counts = {"requests": self._answers.total(), **dict(sorted(self._answers.items()))}
            counts["replays"] = self._replays
        return " ".join(f"{name.replace(' ', '_')}={count}" for name, count in counts.items())

    def table(self) -> str:
        """Return the summary: the answers by status, each with its latency percentiles."""
        with self._lock:
            return "\n".join(self._rows())

    def _rows(self) -> Iterator[str]:
        total = self._answers.total()
        seconds = time.monotonic() - self._started_at
        yield f"{'answer':<28}{'count':>8}{'share':>8}{'p50 ms':>10}{'p95 ms':>10}{'p99 ms':>10}"
        for answer, count in sorted(self._answers.items()):
            latencies = sorted(self._latencies[answer])
            shown = "".join(f"{percentile(latencies, q) * 1000:>10.1f}" for q in (50, 95, 99))
            yield f"{in_words(answer):<28}{count:>8}{count / total:>8.1%}{shown}"
        yield f"{total} requests in {seconds:.1f} s, {total / seconds:.1f} a second"
        yield f"{self._replays} of the answers were replays"


def percentile(ordered: list[float], q: int) -> float:
    """Return the value that `q` percent of the `ordered` values do not exceed."""
    return ordered[max(0, -(-len(ordered) * q // 100) - 1)]


def in_words(answer: str) -> str:
    """Return an HTTP status with its reason, such as ``201 Created``."""
    reason = responses.get(int(answer), "") if answer.isdigit() else ""
    return f"{answer} {reason}".rstrip()
