"""What belongs to the request in hand and stands in no row: its id, and what its foreign call met.

As bare context variables, which cost the heart no call.
"""

from contextvars import ContextVar
from typing import Any

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the HTTP request that is being answered; empty outside of any."""

CALLS: ContextVar[list[dict[str, Any]] | None] = ContextVar("calls", default=None)
"""What was noted of the foreign call in hand; None outside of one."""

IN_HAND: ContextVar[Any] = ContextVar("in_hand", default=None)
"""The attempt that this thread makes, for what is logged in it; None outside of one."""

MOST_CALLS = 20
LONGEST_FACT = 200


def note_call(**facts: str | int | float | bool | None) -> None:
    """Note an answer of a foreign system in the journal of the request that it was asked for.

    For the code that speaks to it, such as an HTTP client: by the provider's own id of the answer
    both sides' logs can be laid beside each other. Outside of a foreign phase nothing is noted.

    Args:
        facts: such as `request_id`, `status` and `replayed`; a text is kept to 200 characters, and
            20 answers of a phase are kept.
    """
    calls = CALLS.get()
    if calls is not None and len(calls) < MOST_CALLS:
        calls.append({name: _short(fact) for name, fact in facts.items() if fact is not None})


def _short(fact: Any) -> Any:
    return fact[:LONGEST_FACT] if isinstance(fact, str) else fact
