"""What a worker did in a batch, in the one shape that its loop, its command and its log read."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Batch:
    """How many of what a batch took, and whether there may be more.

    `counts` are printed by `--once`; the log has `details` besides.
    """

    counts: Mapping[str, int]
    is_full: bool = False
    details: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def did_something(self) -> bool:
        return any(self.counts.values()) or any(self.details.values())

    @property
    def printed(self) -> str:
        return _written(self.counts)

    @property
    def logged(self) -> str:
        return _written({**self.counts, **self.details})


def _written(counts: Mapping[str, int]) -> str:
    return " ".join(f"{name}={count}" for name, count in counts.items())
