"""What may go, and when. Nothing unfinished is ever deleted.

A finished key goes in two steps: after its retention the parameters and the answer, so that
personal data is not kept longer than it is of use; after the second horizon the row. In between it
is a tombstone, which tells a very late retry that its request was done. An unfinished key that old
is cleaned up, if its operation knows how, and put before a person.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection, transaction

from idempotency import conf, failures
from idempotency.claims import Claim, take_over_next_overdue_key
from idempotency.exceptions import NeedsReview
from idempotency.leases import Progress, write_progress
from idempotency.models import FINISHED, IdempotencyKey
from idempotency.operations import Operation
from idempotency.registry import operation_for
from idempotency.worker import should_stop

logger = logging.getLogger(__name__)

BEGIN_BEFORE_ALL_KEYS = """
INSERT INTO idempotency_reaperposition (id, last_run_at)
SELECT 1, 'epoch'
 WHERE NOT EXISTS (SELECT FROM idempotency_reaperposition)
    ON CONFLICT DO NOTHING
"""

# The oldest first, from where the last batch ended. An index that knew which keys have their answer
# would be left by every key that loses it, and PostgreSQL then enters the key anew in all indexes:
# in that of the clients' keys, which lie at random, on a page for each. This way a key is changed
# in its own page only, and a batch costs the same in a table of any size. No answer is left behind:
# it does not go past an unfinished key, which may yet finish with the last run that it has; one
# under review gets a new one. One reaper at a time is in this step; another passes it over.
# A finished key's age counts from its last run: one that was finished long after it was created, by
# a person's decision for example, is kept as long, or nobody would ever get its answer.
REAP_FINISHED_KEYS = f"""
WITH position AS MATERIALIZED (
    SELECT last_run_at FROM idempotency_reaperposition FOR UPDATE SKIP LOCKED
), batch AS MATERIALIZED (
    SELECT id, last_run_at
      FROM idempotency_idempotencykey
     WHERE recovery_point = '{FINISHED}'
       AND response_body IS NOT NULL
       AND last_run_at >= (SELECT last_run_at FROM position)
       AND last_run_at < LEAST(statement_timestamp() - %(retention)s,
                               (SELECT min(last_run_at)
                                  FROM idempotency_idempotencykey
                                 WHERE recovery_point <> '{FINISHED}'
                                   AND needs_review_at IS NULL))
     ORDER BY last_run_at
     LIMIT %(limit)s
), reaped AS (
    UPDATE idempotency_idempotencykey
       SET request_params        = '{{}}',
           path_kwargs           = '{{}}',
           origin_ip             = NULL,
           response_body         = NULL,
           response_content_type = NULL,
           journal               = '[]'
     WHERE id IN (SELECT id FROM batch)
), moved AS (
    UPDATE idempotency_reaperposition
       SET last_run_at = (SELECT max(last_run_at) FROM batch)
     WHERE EXISTS (SELECT FROM batch)
)
SELECT count(*) FROM batch
"""  # noqa: S608

# Rows that another reaper has in hand are passed over.
FIND_OLD_TOMBSTONES = f"""
SELECT id
  FROM idempotency_idempotencykey
 WHERE recovery_point = '{FINISHED}'
   AND response_body IS NULL
   AND last_run_at < statement_timestamp() - %(retention)s
 ORDER BY last_run_at
 LIMIT %(limit)s
   FOR UPDATE SKIP LOCKED
"""  # noqa: S608

# Whether any of the three steps may find something: the next answer after the reaper's position,
# the oldest finished key, and then the unfinished keys, which are few.
KEYS_ARE_OVERDUE = f"""
SELECT (SELECT min(last_run_at) FROM idempotency_idempotencykey
         WHERE recovery_point = '{FINISHED}' AND response_body IS NOT NULL
           AND last_run_at >= COALESCE((SELECT last_run_at FROM idempotency_reaperposition),
                                       'epoch'))
       < statement_timestamp() - %(retention)s
    OR (SELECT min(last_run_at) FROM idempotency_idempotencykey
         WHERE recovery_point = '{FINISHED}')
       < statement_timestamp() - %(tombstone_retention)s
    OR (SELECT min(created_at) FROM idempotency_idempotencykey
         WHERE recovery_point <> '{FINISHED}' AND needs_review_at IS NULL)
       < statement_timestamp() - %(retention)s
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Reaped:
    """What a batch did: answers taken away, tombstones removed, unfinished keys sent to review."""

    reaped: int
    removed: int
    needs_review: int

    @property
    def total(self) -> int:
        return self.reaped + self.removed + self.needs_review

    def __str__(self) -> str:
        return f"removed={self.removed} needs_review={self.needs_review}"


def reap(limit: int) -> Reaped:
    """Runs one batch of each step, of up to `limit` keys, where there is anything to do."""
    if not keys_are_overdue():
        return Reaped(reaped=0, removed=0, needs_review=0)
    return Reaped(
        reap_finished_keys(limit), remove_tombstones(limit), send_overdue_keys_to_review(limit)
    )


def keys_are_overdue() -> bool:
    """Whether any key is past one of its horizons: the idle reaper's one question."""
    settings = conf.current()
    horizons: dict[str, Any] = {
        "retention": settings.retention,
        "tombstone_retention": settings.tombstone_retention,
    }
    with connection.cursor() as cursor:
        cursor.execute(KEYS_ARE_OVERDUE, horizons)
        row = cursor.fetchone()
    return bool(row and row[0])


def reap_finished_keys(limit: int) -> int:
    """Turns up to `limit` finished keys past their retention into tombstones; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(BEGIN_BEFORE_ALL_KEYS)
        cursor.execute(REAP_FINISHED_KEYS, _older_than(conf.current().retention, limit))
        row = cursor.fetchone()
    return row[0] if row else 0


def remove_tombstones(limit: int) -> int:
    """Removes up to `limit` tombstones past the second horizon; returns how many.

    What points at a key does as its `on_delete` says: a ride stays, its reference is set to null.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(FIND_OLD_TOMBSTONES, _older_than(conf.current().tombstone_retention, limit))
        ids = [row[0] for row in cursor.fetchall()]
        if ids:
            IdempotencyKey.objects.filter(pk__in=ids).delete()
    return len(ids)


def send_overdue_keys_to_review(limit: int) -> int:
    """Cleans up to `limit` unfinished keys past their retention, and sends them to review."""
    sent = 0
    while sent < limit and not should_stop() and (claim := take_over_next_overdue_key()):
        _send_to_review(claim)
        sent += 1
    if sent:
        logger.error("unfinished keys past their retention need review: count=%d", sent)
    return sent


def _send_to_review(claim: Claim) -> None:
    """A clean-up that fails is told to the person; it does not keep the key from the list."""
    evidence: dict[str, Any] = {"unfinished_since": claim.key.created_at.isoformat()}
    try:
        _clean_up(operation_for(claim.key), claim)
    except Exception as error:
        logger.warning("clean-up failed: id=%s", claim.key.pk, exc_info=error)
        evidence["clean_up_error"] = repr(error)
    message = "This request was not finished by the end of its retention."
    failures.let_go(claim.key, claim.lease, NeedsReview(message, evidence=evidence))


def _clean_up(operation: Operation, claim: Claim) -> None:
    operation.key, operation.lease = claim.key, claim.lease
    progress = Progress(
        recovery_point=claim.key.recovery_point, keeps_lease=True, journal=[{"event": "clean_up"}]
    )

    def clean_up_fenced() -> None:
        operation.clean_up()
        write_progress(claim.lease, progress)

    operation.in_transaction(clean_up_fenced)


def _older_than(retention: timedelta, limit: int) -> dict[str, Any]:
    return {"retention": retention, "limit": limit}
