"""Where a worker's next look at an index begins, so that no look reads what was done long ago."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

LOOK_AT_ALL_EVERY_SECONDS = 60.0
"""So late, at most, is found what lies before the position."""

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Position:
    """The place in an index before which a worker has nothing more to do, in its own memory.

    A row that was removed or moved stays in an index until vacuum may take it, which one old
    snapshot can forbid for hours. Looks that begin at the position pass over all of those; once a
    minute a look begins at the beginning, for what came before the position after all.
    """

    at: datetime = BEGINNING
    id: int = 0
    looks_at_all_from: float = 0.0
    """On the monotonic clock: when a look is to begin at the beginning again."""

    def begin(self) -> bool:
        """Prepares a look. Whether it begins at the beginning."""
        now = time.monotonic()
        if now < self.looks_at_all_from:
            return False
        self.at, self.id = BEGINNING, 0
        self.looks_at_all_from = now + LOOK_AT_ALL_EVERY_SECONDS
        return True
