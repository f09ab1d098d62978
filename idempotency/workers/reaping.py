"""What may go, and when. Nothing unfinished is ever deleted.

A finished key goes in two steps: after its retention the parameters and the answer, so that
personal data is not kept longer than it is of use; after the second horizon the row. In between it
is a tombstone, by which a very late retry is answered that its request was done. An unfinished key
that old is cleaned up, if its operation has a clean-up, and sent to review.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from idempotency import conf, failures
from idempotency.attempts import Attempt
from idempotency.claims import Claim, take_over_next_overdue_key
from idempotency.database import atomic, connection
from idempotency.database_errors import database_is_away, may_succeed_when_repeated
from idempotency.exceptions import LEAVING, NeedsReview
from idempotency.leases import Progress, write_progress
from idempotency.models import FINISHED, IdempotencyKey
from idempotency.operations import Operation, operation_for
from idempotency.support.batches import Batch
from idempotency.support.described import described, described_traceback
from idempotency.support.positions import Position
from idempotency.transactions import in_transaction, repeated_on_conflict
from idempotency.watched import ADDED_UP, LIMITS
from idempotency.workers.loop import should_stop
from idempotency.workers.overdue import Overdue

logger = logging.getLogger(__name__)

BEGIN_BEFORE_ALL_KEYS = """
INSERT INTO idempotency_reaperposition (id, last_run_at)
SELECT 1, 'epoch'
 WHERE NOT EXISTS (SELECT FROM idempotency_reaperposition)
    ON CONFLICT DO NOTHING
"""

# What makes a tombstone of a finished key. The path goes with its arguments, which stand in it:
# what was asked is compared by the fingerprint, and the operation's name stays.
WITHOUT_ANSWER = """request_path          = '',
           request_params        = '{}',
           path_kwargs           = '{}',
           origin_ip             = NULL,
           response_body         = NULL,
           response_content_type = NULL,
           response_headers      = NULL,
           journal               = '[]'"""

# What journals tell of finished requests is rolled up before they are emptied: how many there were
# in the hour in which they came, how they ended, and how long each took from its first try to its
# answer. It is exact, where what a process counts goes with it when it is killed.
_BUCKETS = ", ".join(f"count(*) FILTER (WHERE bucket = {n})" for n in range(len(LIMITS) + 1))
_ROLLED_UP = f"""
    INSERT INTO idempotency_rollup AS rollup
           (span, at, what, operation, name, outcome, count, seconds, buckets)
    SELECT 'hour', date_bin('1 hour', created_at, 'epoch'), 'finished', operation, '',
           response_code::text, count(*), sum(seconds), ARRAY[{_BUCKETS}]
      FROM (SELECT *, width_bucket(seconds, ARRAY{list(LIMITS)}::float8[]) AS bucket
              FROM batch) AS finished
     GROUP BY 2, operation, response_code
     ORDER BY 2, operation, response_code
{ADDED_UP}"""  # noqa: S608 - SQL of our own

# The oldest first, from where the last batch ended. An index of the keys that have their answer
# would be left by every key that loses it, and PostgreSQL then enters the key anew in all indexes:
# in that of the clients' keys, which lie at random, on a page for each. This way a key is changed
# in its own page only, and a batch costs the same in a table of any size. No answer is missed:
# it does not go past an unfinished key (`unfinished_since`), which may yet finish with the last run
# that it has; one under review gets a new one. One reaper at a time is in this step; another passes
# it over.
# A finished key's age counts from its last run: one that was finished long after it was created, by
# a person's decision for example, is kept as long, or nobody would ever get its answer.
REAP_FINISHED_KEYS = f"""
WITH position AS MATERIALIZED (
    SELECT last_run_at FROM idempotency_reaperposition FOR UPDATE SKIP LOCKED
), batch AS MATERIALIZED (
    SELECT id, last_run_at, created_at, operation, response_code,
           COALESCE(EXTRACT(EPOCH FROM (journal -> -1 ->> 'at')::timestamptz - created_at), 0)
             ::float8 AS seconds
      FROM idempotency_idempotencykey
     WHERE recovery_point = '{FINISHED}'
       AND response_body IS NOT NULL
       AND last_run_at >= (SELECT last_run_at FROM position)
       AND last_run_at < LEAST(statement_timestamp() - %(retention)s, %(unfinished_since)s)
     ORDER BY last_run_at
     LIMIT %(limit)s
), reaped AS (
    UPDATE idempotency_idempotencykey
       SET {WITHOUT_ANSWER}
     WHERE id IN (SELECT id FROM batch)
), rolled_up AS ({_ROLLED_UP}), moved AS (
    UPDATE idempotency_reaperposition
       SET last_run_at = (SELECT max(last_run_at) FROM batch)
     WHERE EXISTS (SELECT FROM batch)
)
SELECT count(*) FROM batch
"""  # noqa: S608

# Rows that another reaper has in hand are passed over.
FIND_OLD_TOMBSTONES = f"""
SELECT id, last_run_at
  FROM idempotency_idempotencykey
 WHERE recovery_point = '{FINISHED}'
   AND response_body IS NULL
   AND last_run_at < statement_timestamp() - %(retention)s
   AND last_run_at >= %(begin_at)s
   AND (last_run_at > %(begin_at)s OR id > %(begin_id)s)
 ORDER BY last_run_at, id
 LIMIT %(limit)s
   FOR UPDATE SKIP LOCKED
"""  # noqa: S608


def reap(limit: int, overdue: Overdue | None = None) -> Batch:
    """Run one batch of each step, of up to `limit` keys, where there is anything to do.

    Each step on its own: what fails in one, again and again perhaps, does not keep the others from
    theirs.

    Args:
        overdue: what the same reaper's last batch left; without it all is looked at.
    """
    overdue = overdue or Overdue()
    overdue.look()
    reaped = removed = sent = 0
    if overdue.answers:
        reaped = _on_its_own(lambda: reap_finished_keys(limit, overdue))
    if overdue.tombstones:
        removed = _on_its_own(lambda: remove_tombstones(limit, overdue.position))
    if overdue.requests:
        sent = _on_its_own(lambda: send_overdue_keys_to_review(limit))
        overdue.requests = sent >= limit
    return Batch(
        {"reaped": reaped},
        is_full=max(reaped, removed, sent) >= limit,
        details={"removed": removed, "needs_review": sent},
    )


def _on_its_own(step: Callable[[], int]) -> int:
    """Run a step, and log its failure; that of the database is the loop's to wait out."""
    try:
        return step()
    except LEAVING:
        raise
    except BaseException as error:
        if database_is_away(error):
            raise
        logger.error("a step of the reaper failed: %s", described_traceback(error))
        return 0


def reap_finished_keys(limit: int, overdue: Overdue | None = None) -> int:
    """Turn up to `limit` finished keys past their retention into tombstones; return how many."""
    if overdue is None:
        overdue = Overdue()
        overdue.look()
    return _reap_finished_keys(limit, overdue.unfinished_since)


@repeated_on_conflict
def _reap_finished_keys(limit: int, unfinished_since: datetime | None) -> int:
    values: dict[str, Any] = {
        "retention": conf.current().retention,
        "unfinished_since": unfinished_since,
        "limit": limit,
    }
    with connection.cursor() as cursor:
        cursor.execute(BEGIN_BEFORE_ALL_KEYS)
        cursor.execute(REAP_FINISHED_KEYS, values)
        row = cursor.fetchone()
    return row[0] if row else 0


def remove_tombstones(limit: int, position: Position | None = None) -> int:
    """Remove up to `limit` tombstones past the second horizon; return how many.

    What points at a key does as its `on_delete` says: a ride stays, its reference is set to null.
    Where it protects its key, that key stays, and the others go.
    """
    position = position or Position()
    removed, found_all = 0, False
    while removed < limit and not found_all and not should_stop():
        wanted = limit - removed
        found, count = _remove_next_tombstones(wanted, position)
        removed += count
        if found:
            position.id, position.at = found[-1]
        found_all = len(found) < wanted
    return removed


@repeated_on_conflict
def _remove_next_tombstones(
    limit: int, position: Position
) -> tuple[list[tuple[int, datetime]], int]:
    """Return what was found from the position on, and how many of those could be removed."""
    with atomic():
        found = _old_tombstones(limit, position)
        return found, _remove([key_id for key_id, _ in found])


def _old_tombstones(limit: int, position: Position) -> list[tuple[int, datetime]]:
    values: dict[str, Any] = {
        "retention": conf.current().tombstone_retention,
        "begin_at": position.at,
        "begin_id": position.id,
        "limit": limit,
    }
    with connection.cursor() as cursor:
        cursor.execute(FIND_OLD_TOMBSTONES, values)
        return cursor.fetchall()


def _remove(key_ids: Sequence[int]) -> int:
    """Remove all at once, or one at a time where something protects one; return how many."""
    if not key_ids or _are_removed(key_ids) is None:
        return len(key_ids)
    errors = {key_id: _are_removed([key_id]) for key_id in key_ids}
    kept = {key_id: error for key_id, error in errors.items() if error}
    if kept:
        example, error = next(iter(kept.items()))
        logger.error(
            "keys cannot be removed: count=%d for example id=%s error=%s",
            len(kept),
            example,
            error,
        )
    return len(key_ids) - len(kept)


def _are_removed(key_ids: Sequence[int]) -> str | None:
    """Return None, or the name of the error that kept them."""
    try:
        with atomic():
            IdempotencyKey.objects.filter(pk__in=key_ids).delete()
    except LEAVING:
        raise
    except BaseException as error:  # of a constraint, an on_delete or a signal's receiver: not ours
        if database_is_away(error) or may_succeed_when_repeated(error):
            raise
        return described(error)
    return None


def send_overdue_keys_to_review(limit: int) -> int:
    """Clean up to `limit` unfinished keys past their retention, and send them to review.

    One for which that fails is tried again when its lease has run out; the others go on.
    """
    taken = sent = 0
    while taken < limit and not should_stop() and (claim := take_over_next_overdue_key()):
        taken += 1
        try:
            _send_to_review(claim)
        except LEAVING:
            raise
        except BaseException as error:
            if database_is_away(error):
                raise
            said = described_traceback(error)
            logger.error("a request was not sent to review: id=%s: %s", claim.key.pk, said)
        else:
            sent += 1
    if sent:
        logger.error("unfinished keys past their retention need review: count=%d", sent)
    return sent


def _send_to_review(claim: Claim) -> None:
    """Send the key to review with the error of its clean-up, if that failed."""
    evidence: dict[str, Any] = {"unfinished_since": claim.key.created_at.isoformat()}
    try:
        _clean_up(operation_for(claim.key), claim)
    except LEAVING:
        raise
    except BaseException as error:
        logger.warning("clean-up failed: id=%s: %s", claim.key.pk, described_traceback(error))
        evidence["clean_up_error"] = described(error)
    message = "This request was not finished by the end of its retention."
    failures.let_go(claim.key, claim.lease, NeedsReview(message, evidence=evidence))


def _clean_up(operation: Operation, claim: Claim) -> None:
    attempt = Attempt(operation)
    attempt.hold(claim)
    progress = Progress(
        recovery_point=claim.key.recovery_point,
        keeps_lease=True,
        keeps_pending=True,
        journal=[{"event": "clean_up"}],
    )

    def clean_up_fenced() -> None:
        attempt.begin_untouched()
        attempt.operation.clean_up()
        write_progress(claim.lease, progress)

    in_transaction(clean_up_fenced, isolation=operation.isolation)
