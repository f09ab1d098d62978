"""How an attempt ends without an answer: what is recorded, and what the client is told.

Only a definite outcome finishes a key. Everything else lets it go: it keeps its recovery point,
the error is written to it, and somebody tries again later, or a person looks.
"""

import logging
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TypeVar

from idempotency import conf
from idempotency.database_errors import database_is_away, waited_too_long_for_a_lock
from idempotency.exceptions import (
    LEAVING,
    ConflictPersists,
    DatabaseUnavailable,
    ForeignRefusal,
    IdempotencyError,
    LeaseLost,
    NeedsReview,
    Parked,
    PhaseFailed,
)
from idempotency.leases import (
    JournalEntry,
    Lease,
    Progress,
    write_progress,
)
from idempotency.models import IdempotencyKey
from idempotency.signals import journaled
from idempotency.support.context import CALL
from idempotency.support.described import described, described_traceback
from idempotency.transactions import drop_broken_connection, in_transaction

logger = logging.getLogger(__name__)

PARKED_FOR = timedelta(minutes=5)
"""A parked key is looked at again this much later: a deploy may have brought its code."""

T = TypeVar("T")


def let_go(key: IdempotencyKey, lease: Lease, error: BaseException) -> IdempotencyError:
    """Release the lease with the error recorded, and return the error to answer with.

    Never raises, or one failure would end the batch of all others. Where the record can't be
    written (the database is away), the lease runs out by itself. Where the lease is no longer ours,
    nothing is written and the answer is that of `LeaseLost`.
    """
    answer = _with_delay(answerable(error), client_delay_seconds(lease.attempt))
    ending = answer
    if not isinstance(answer, NeedsReview | Parked) and completer_is_at_its_limit(key):
        ending = _given_up(answer)
    try:
        entry = _journal_entry(ending, error)
        write = partial(_record, key, lease, error, ending, entry)
        recorded = attempt_to(lambda: in_transaction(write))
    except LeaseLost as lost:
        return lost
    except IdempotencyError as unrecorded:
        _warn_unrecorded(unrecorded)
        return answer
    if not recorded:
        return answer
    told = {"key": key, "attempt": lease.attempt, "entries": [entry]}
    journaled.send_robust(None, **told)
    return ending


def _record(
    key: IdempotencyKey,
    lease: Lease,
    error: BaseException,
    answer: IdempotencyError,
    entry: JournalEntry,
) -> bool:
    is_parked = isinstance(answer, Parked)
    progress = Progress(
        recovery_point=None,
        keeps_pending=True,
        last_error=described(error),
        needs_review=isinstance(answer, NeedsReview),
        run_again_in=PARKED_FOR if is_parked else completer_delay(key.completer_attempts),
        takes_back_attempt=is_parked and lease.is_completers,
        journal=[entry],
    )
    write_progress(lease, progress)
    logger.info("lease released: id=%s attempt=%s code=%s", key.pk, lease.attempt, answer.code)
    return True


def attempt_to(write: Callable[[], T]) -> T | None:
    """Write what is to be kept of a failed attempt. Return None where the database does not let it.

    The connection may have been lost meanwhile, during a foreign call perhaps: then a new one is
    tried. Nothing depends on it: without the record the lease runs out, and the key is tried again.

    Raises: nothing but the `IdempotencyError` that `write` raised.
    """
    for connections_left in (1, 0):
        try:
            return write()
        except (IdempotencyError, *LEAVING):
            raise
        except BaseException as error:
            if not (connections_left and database_is_away(error)):
                _warn_unrecorded(error)
                break
            drop_broken_connection(error)
    return None


def _warn_unrecorded(error: BaseException) -> None:
    logger.warning("a failed attempt could not be recorded: error=%s", described(error))


def answerable(error: BaseException) -> IdempotencyError:
    """Return the error as a client gets it, with `error` as its cause if that is another one.

    What nobody expected is logged, and answered as a 500.
    """
    if isinstance(error, IdempotencyError):
        return error
    answer = _named(error)
    answer.__cause__ = error
    return answer


def _named(error: BaseException) -> IdempotencyError:
    if database_is_away(error):
        logger.warning("database unavailable: error=%s", described(error))
        return DatabaseUnavailable(
            "The database is not available. What was committed so far is kept. "
            "Retry with the same Idempotency-Key.",
            retry_after_seconds=1,
        )
    if waited_too_long_for_a_lock(error):
        return ConflictPersists(
            "Another request held the same data for too long. What was done so far is kept. "
            "Retry with the same Idempotency-Key.",
            retry_after_seconds=1,
        )
    logger.error("phase failed: %s", described_traceback(error))
    return PhaseFailed(
        "An internal error occurred. What was done so far is kept. "
        "Retry with the same Idempotency-Key."
    )


def _with_delay(error: IdempotencyError, seconds: int) -> IdempotencyError:
    """Return the error with a `Retry-After`: a copy, since its author may raise the same one again.
    Not by its `__init__`, whose arguments nobody kept. What cannot be copied goes without.
    """
    if error.retry_after_seconds is not None:
        return error
    with suppress(Exception):
        copy = type(error).__new__(type(error), *error.args)
        vars(copy).update(vars(error), retry_after_seconds=seconds)
        copy.__cause__ = error.__cause__
        return copy.with_traceback(error.__traceback__)
    return error


def completer_delay(attempts: int) -> timedelta:
    """How long the completer leaves a key alone after an attempt failed, when it has made so many.

    Doubles with each of its own, up to the limit: however often a client retries, its request is
    not put off for it. A fifth is jitter, so that keys which failed together in an outage do not
    come back together.
    """
    settings = conf.current()
    doubled = settings.completer_pause * 2 ** min(max(attempts - 1, 0), 20)
    return min(doubled, settings.completer_pause_limit) * random.uniform(1.0, 1.2)  # noqa: S311


def client_delay_seconds(attempt: int) -> int:
    """The `Retry-After` of an attempt that failed: 1, 2, 4, … up to 60 seconds."""
    return int(min(2 ** min(attempt - 1, 6), 60))


def longest_wait() -> timedelta:
    """The longest that a key can be told to wait for its next run by any rule of these."""
    settings = conf.current()
    return max(settings.completer_grace, settings.completer_pause_limit * 1.2, PARKED_FOR)


def completer_is_at_its_limit(key: IdempotencyKey) -> bool:
    """Whether the completer has tried the key as often as it should. Only its own attempts count:
    a client that retries in a tight loop during an outage must not send its request to review.
    """
    return key.completer_attempts >= conf.current().max_attempts


def _given_up(answer: IdempotencyError) -> NeedsReview:
    review = NeedsReview(
        "This request was tried many times and could not be finished. Nothing more is done until a "
        "person has looked. Retry later with the same Idempotency-Key.",
        evidence={"last_code": answer.code},
    )
    review.__cause__ = answer
    return review


def _journal_entry(answer: IdempotencyError, error: BaseException) -> JournalEntry:
    entry: JournalEntry = {"event": answer.code, "error": described(error)}
    if isinstance(answer, NeedsReview):
        entry["evidence"] = answer.evidence
    if isinstance(answer, ForeignRefusal):
        entry["refused"] = True
    if call := CALL.get():
        entry |= {"phase": call.phase.name, **call.ended()}
        CALL.set(None)
    return entry
