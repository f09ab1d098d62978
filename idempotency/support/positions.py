"""Where a worker's next look at an index begins, so that no look reads what was done long ago."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django.conf import settings

LOOK_AT_ALL_EVERY_SECONDS = 60.0
"""So late is found, where looks are quick, what lies before the position."""

LOOK_AT_ALL_SHARE = 1 / 50
"""A look at all may read a million dead rows: it takes no more of a worker's time than this."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def beginning() -> datetime:
    """Return a time before all others, as the driver gives times: naive without `USE_TZ`."""
    return _EPOCH if settings.USE_TZ else _EPOCH.replace(tzinfo=None)


@dataclass(slots=True)
class Position:
    """The place in an index before which a worker has nothing more to do, in its own memory.

    A row that was removed or moved stays in an index until vacuum may take it, which one old
    snapshot can forbid for hours. Looks that begin at the position pass over all of those; once a
    minute a look begins at the beginning, for what came before the position after all.
    """

    at: datetime = field(default_factory=beginning)
    id: int = 0
    looks_at_all_from: float = 0.0
    """On the monotonic clock: when a look is to begin at the beginning again."""

    @contextmanager
    def look(self) -> Iterator[bool]:
        """Prepare a look, which the block makes: whether it begins at the beginning."""
        began_at = time.monotonic()
        if began_at < self.looks_at_all_from:
            yield False
            return
        self.at, self.id = beginning(), 0
        yield True
        now = time.monotonic()
        pause = max(LOOK_AT_ALL_EVERY_SECONDS, (now - began_at) / LOOK_AT_ALL_SHARE)
        self.looks_at_all_from = now + pause
