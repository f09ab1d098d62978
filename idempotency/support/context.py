"""What belongs to the request in hand and stands in no row: its id, what its foreign call met, and
in which cell the thread is that has it in hand.

As bare context variables, which cost the heart no call.
"""

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

IN_CELL: ContextVar[str] = ContextVar("in_cell", default="")
"""The schema that this thread works in; empty where the connection's settings say it."""

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the HTTP request that is being answered; empty outside of any."""


@dataclass
class CallInHand:
    """A foreign phase that is calling out: which, since when, and what was noted of its calls."""

    phase: Any
    began_at: float = field(default_factory=time.monotonic)
    noted: list[dict[str, Any]] = field(default_factory=list)

    def ended(self) -> dict[str, Any]:
        """Return, for the journal, how long it took in milliseconds, and what was noted."""
        facts: dict[str, Any] = {"ms": round((time.monotonic() - self.began_at) * 1000, 1)}
        return facts | {"calls": self.noted} if self.noted else facts


CALL: ContextVar[CallInHand | None] = ContextVar("call", default=None)
"""The foreign call in hand; None outside of one."""

IN_HAND: ContextVar[Any] = ContextVar("in_hand", default=None)
"""The attempt that this thread makes, for what is logged in it; None outside of one."""

MOST_CALLS = 20
LONGEST_FACT = 200


def note_call(**facts: str | int | float | bool | None) -> None:
    """Note an answer of a foreign system in the journal of the request that it was asked for.

    For the code that speaks to it, such as an HTTP client: by the provider's own id of the answer
    both sides' logs can be laid beside each other. A call that was not answered is noted without a
    `status`. Outside of a foreign phase nothing is noted.

    Args:
        facts: such as `request_id`, `status` and `replayed`; a text is kept to 200 characters, and
            20 answers of a phase are kept.
    """
    call = CALL.get()
    if call is not None and len(call.noted) < MOST_CALLS:
        call.noted.append({name: _short(fact) for name, fact in facts.items() if fact is not None})


def _short(fact: Any) -> Any:
    return fact[:LONGEST_FACT] if isinstance(fact, str) else fact
