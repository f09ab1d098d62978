"""How often in a row a foreign system has refused a phase's calls on the same grounds.

Then the fault is not one request's: the completer would fill the review list with all that are due.
Each process counts for itself, and what any call is answered ends the row.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from idempotency.exceptions import (
    ForeignAccessRefused,
    ForeignRefusal,
    Indeterminate,
    SendingPaused,
)
from idempotency.support.context import IN_CELL
from idempotency.support.described import described

MOST_IN_A_ROW = 5
PAUSE_SECONDS = 300.0
"""After which one call is made to see; the next refusal on the same grounds begins another."""

logger = logging.getLogger(__name__)


class Named(Protocol):
    """A foreign phase."""

    @property
    def name(self) -> str: ...


@dataclass(slots=True)
class _Row:
    grounds: str
    said: str
    count: int = 0
    ends_at: float = 0.0

    @property
    def is_long(self) -> bool:
        return self.count >= MOST_IN_A_ROW

    @property
    def pauses(self) -> bool:
        return time.monotonic() < self.ends_at


rows: dict[tuple[str, Named], _Row] = {}
"""Of each cell, or the answers in one would end another's row. Without a lock: of two threads that
count at once, one may count for both."""


def note_answer(phase: Named) -> None:
    """End the phase's row."""
    rows.pop(_here(phase), None)


def note_failure(phase: Named, error: Exception) -> None:
    """Count a refusal. What is not known leaves the row as it is, anything else ends it."""
    if not (isinstance(error, ForeignRefusal | ForeignAccessRefused) and error.grounds):
        if not isinstance(error, Indeterminate):
            note_answer(phase)
        return
    row = rows.get(_here(phase))
    if row is None or row.grounds != error.grounds:
        row = rows[_here(phase)] = _Row(error.grounds, described(error))
    row.count += 1
    if not row.is_long or row.pauses:
        return
    row.ends_at = time.monotonic() + PAUSE_SECONDS
    logger.warning(
        "the completer pauses: phase=%s refused=%s grounds=%s seconds=%.0f",
        *(phase.name, row.count, row.grounds, PAUSE_SECONDS),
    )


def refuse_to_send(phase: Named) -> None:
    """Raises: `SendingPaused` while the phase pauses."""
    row = rows.get(_here(phase))
    if row is not None and row.pauses:
        raise SendingPaused(
            f"{phase.name} was refused {row.count} times in a row ({row.grounds}): {row.said}"
        )


def refusal_warnings() -> Sequence[str]:
    """Return in words which phases are refused again and again, for `READINESS_WARNINGS`."""
    return [
        f"{phase.name} was refused {row.count} times in a row ({row.grounds})."
        for (_, phase), row in list(rows.items())
        if row.is_long
    ]


def _here(phase: Named) -> tuple[str, Named]:
    return IN_CELL.get(), phase
