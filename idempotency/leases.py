"""Keep a key, or let it go: the lease and its fence.

Whoever works on a key holds its lease, and changes the key by one statement only, which the
fencing token guards. All times are the database's; a process only measures how much of its lease
is left, by a clock of its own.
"""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from idempotency import conf
from idempotency.database import connection
from idempotency.exceptions import LeaseLost
from idempotency.models import FINISHED
from idempotency.phases import Pending, Response
from idempotency.support.storable import storable_json_text

JournalEntry = dict[str, Any]

COUNTS_SUSPENDED_TIME = hasattr(time, "CLOCK_BOOTTIME")

JOURNAL_LIMIT = 200
"""A key keeps its first entry and its latest ones: a client may retry without end."""


def journal_and(entries: str) -> str:
    """The journal with more entries as SQL: of those between, the oldest go beyond its limit.

    It grows in the statement that moves the key, so the timeline costs none of its own. Its values
    are those of `growth_of_journal`.
    """
    return f"""
       CASE WHEN jsonb_array_length(journal) + %(count)s <= {JOURNAL_LIMIT} THEN journal
            ELSE jsonb_path_query_array(journal, %(kept)s::jsonpath) END
       || {entries}"""


def growth_of_journal(count: int) -> dict[str, Any]:
    """Return the values of `journal_and`, for so many entries: which of a full one are kept."""
    latest = JOURNAL_LIMIT - 1 - count
    kept = f"$[0, last - {latest - 1} to last]" if latest > 0 else "$[0]"
    return {"count": count, "kept": kept}


@dataclass(frozen=True, slots=True)
class Lease:
    """The time-limited right to work on a key, with its fencing token.

    `attempt` is the lease's number for people. `ends_at` is on `lease_clock`, counted from before
    the claim was sent: the lease ends here no later than it does in the database.
    """

    key_id: int
    token: UUID
    attempt: int
    ends_at: float
    is_completers: bool = False

    @property
    def has_expired(self) -> bool:
        return lease_clock() >= self.ends_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where one transaction takes the key: the argument of `write_progress`."""

    recovery_point: str | None
    """None leaves it as it is, which is not known after a COMMIT whose answer was lost."""
    keeps_lease: bool = False
    begins_foreign_phase: bool = False
    response: Response | None = None
    pending: Pending | None = None
    pending_since: datetime | None = None
    """Since when it has been, where it was before; the holder of the lease knows."""
    keeps_pending: bool = False
    """Whether what is pending stays so. Otherwise it has ended with this transaction."""
    last_error: str = ""
    needs_review: bool = False
    run_again_in: timedelta | None = None
    takes_back_attempt: bool = False
    """Whether the completer's attempt does not count after all."""
    journal: Sequence[JournalEntry] = field(default_factory=tuple)


_ENTRIES = """to_jsonb(ARRAY(
                 SELECT jsonb_build_object('at', statement_timestamp()) || entry
                   FROM jsonb_array_elements(%(entries)s::jsonb)
                        WITH ORDINALITY AS entries (entry, number)
                  ORDER BY number))"""

# The fence. Every change that a process makes to a key it works on, finishing it and letting it
# go included, is this statement, in the transaction of the changes that go with it. The token is
# in the WHERE: a process that lost its lease matches no row, and its transaction is rolled back.
# Nor does one of a history that the database has lost, whose ids and numbers may be another's now.
# A time is the statement's, and none where NULL is added to it. What is pending is asked about on
# its own schedule, whatever the back-off was, and given up by when it began.
WRITE_PROGRESS = f"""
UPDATE idempotency_idempotencykey
   SET recovery_point        = COALESCE(%(recovery_point)s, recovery_point),
       locked_at             = statement_timestamp() + %(keeps_lease)s::interval,
       foreign_sent_at       = GREATEST(
                                 CASE WHEN %(begins_foreign_phase)s::interval IS NULL
                                      THEN foreign_sent_at END,
                                 statement_timestamp() + %(begins_foreign_phase)s::interval),
       run_after             = GREATEST(
                                 CASE WHEN %(pending)s::interval IS NULL THEN run_after END,
                                 statement_timestamp() + %(run_again_in)s),
       pending_since         = LEAST(
                                 CASE WHEN %(keeps_pending)s OR %(pending)s::interval IS NOT NULL
                                      THEN pending_since END,
                                 statement_timestamp() + %(pending)s::interval),
       pending_answer        = CASE WHEN %(keeps_pending)s
                                    THEN pending_answer ELSE %(pending_answer)s END,
       foreign_reference     = CASE WHEN %(keeps_pending)s
                                    THEN foreign_reference ELSE %(foreign_reference)s END,
       gives_up_at           = LEAST(
                                 CASE WHEN %(keeps_pending)s THEN gives_up_at END,
                                 %(gives_up_at)s::timestamptz,
                                 statement_timestamp() + %(gives_up_after)s::interval),
       completer_attempts    = completer_attempts - %(attempts_taken_back)s,
       response_code         = %(response_code)s,
       response_body         = %(response_body)s,
       response_content_type = %(response_content_type)s,
       response_headers      = %(response_headers)s::jsonb,
       last_error            = %(last_error)s,
       needs_review_at       = statement_timestamp() + %(needs_review)s::interval,
       journal               = {journal_and(_ENTRIES)}
 WHERE id = %(key_id)s
   AND lease_token = %(lease_token)s
   AND recovery_point <> '{FINISHED}'
"""  # noqa: S608

NOW = timedelta(0)


def write_progress(lease: Lease, progress: Progress) -> Lease:
    """Move a key, fenced, inside the caller's transaction; return the lease as it is after it.

    Raises: `LeaseLost` where the lease is no longer the caller's: its transaction must not commit.
    """
    response, pending = progress.response, progress.pending
    values: dict[str, Any] = {
        "key_id": lease.key_id,
        "lease_token": lease.token,
        "recovery_point": progress.recovery_point,
        "keeps_lease": NOW if progress.keeps_lease else None,
        "begins_foreign_phase": NOW if progress.begins_foreign_phase else None,
        "run_again_in": progress.run_again_in or NOW,
        "pending": NOW if pending else None,
        "keeps_pending": progress.keeps_pending,
        "pending_answer": pending.text if pending else None,
        "foreign_reference": pending.reference if pending else None,
        "gives_up_after": pending.gives_up_after if pending else None,
        "gives_up_at": _first_given_up_at(progress),
        "attempts_taken_back": int(progress.takes_back_attempt),
        "response_code": response.status if response else None,
        "response_body": response.content if response else None,
        "response_headers": json.dumps(response.headers) if response else None,
        "response_content_type": response.content_type if response else None,
        "last_error": progress.last_error,
        "needs_review": NOW if progress.needs_review else None,
        **growth_of_journal(len(progress.journal)),
        "entries": _as_json(progress.journal, lease.attempt),
    }
    asked_at = lease_clock()
    with connection.cursor() as cursor:
        cursor.execute(WRITE_PROGRESS, values)
        if cursor.rowcount != 1:
            raise lease_lost()
    return replace(lease, ends_at=lease_end(asked_at))


def _first_given_up_at(progress: Progress) -> datetime | None:
    """When something is given up that was pending before: by when it began, not by now."""
    if progress.pending is None or progress.pending_since is None:
        return None
    return progress.pending_since + progress.pending.gives_up_after


def lease_lost() -> LeaseLost:
    return LeaseLost(
        "Another process has taken this request over; this one changed nothing. "
        "Retry with the same Idempotency-Key.",
        retry_after_seconds=1,
    )


def lease_clock() -> float:
    """Read the clock by which leases are measured, in seconds.

    It counts the time of a suspended machine too, where there is such a clock; by the monotonic one
    a laptop or a virtual machine that wakes up would take a lease for live that ended long ago.
    """
    if COUNTS_SUSPENDED_TIME:
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def lease_end(asked_at: float) -> float:
    """When a lease ends that the database was asked for at `asked_at`, both on `lease_clock`."""
    return asked_at + conf.current().lock_timeout.total_seconds()


def _as_json(entries: Iterable[JournalEntry], attempt: int) -> str:
    # Evidence may hold anything. It is made storable, so that no request stays off the review list
    # because of what was found about it.
    texts = (storable_json_text({"attempt": attempt, **entry}) for entry in entries)
    return f"[{', '.join(texts)}]"
