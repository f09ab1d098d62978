"""One line for each request that was answered, and whose request any other line is about.

A line has what is looked for in one place: the request's id, a hash of its key, the operation,
where it stands, which attempt, how it ended and how long it took. Stripe calls such lines canonical
(https://stripe.com/blog/canonical-log-lines).
"""

import hashlib
import logging
from typing import Any

from idempotency.support.context import IN_CELL, IN_HAND, REQUEST_ID

logger = logging.getLogger("idempotency.requests")


def hash_of_key(idempotency_key: str) -> str:
    """Return what a client's key is called in logs, where it itself would be a credential of sorts:
    whoever has it can ask for the answer.
    """
    return hashlib.sha256(idempotency_key.encode()).hexdigest()[:16]


class AddContext(logging.Filter):
    """A filter of a handler that adds to each record whose request it is about: `request_id`, `key`
    (a hash), `operation`, `recovery_point`, `attempt`; and `cell`, in a process of several.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if cell := IN_CELL.get():
            record.cell = cell
        if request_id := REQUEST_ID.get():
            record.request_id = request_id
        if attempt := IN_HAND.get():
            key = attempt.operation.key
            record.key = hash_of_key(key.idempotency_key)
            record.operation = key.operation
            record.recovery_point = key.recovery_point
            record.attempt = attempt.lease.attempt
        return True


def log_answer(
    *,
    operation: str,
    outcome: str,
    seconds: float,
    source: str,
    idempotency_key: str,
    **_: Any,
) -> None:
    """Receive `answered`."""
    told = {
        "operation": operation,
        "outcome": outcome,
        "source": source,
        "ms": round(seconds * 1000, 1),
        **({"key": hash_of_key(idempotency_key)} if idempotency_key else {}),
    }
    logger.info("answered", extra=told)
