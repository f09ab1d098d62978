"""What may go, and when: finished keys past their retention. Nothing unfinished is ever deleted.

An unfinished key that old has been through the completer many times. It is not removed but put
before a person: it lands on the review list.
"""

import logging
from typing import Any

from django.db import connection, transaction

from idempotency import conf
from idempotency.models import FINISHED, IdempotencyKey

logger = logging.getLogger(__name__)

# Oldest first, by the index `idempotency_key_reapable`; a batch another reaper is removing is
# passed over.
FIND_REAPABLE_KEYS = f"""
SELECT id
  FROM idempotency_idempotencykey
 WHERE recovery_point = '{FINISHED}'
   AND created_at < statement_timestamp() - %(retention)s
 ORDER BY created_at
 LIMIT %(limit)s
   FOR UPDATE SKIP LOCKED
"""  # noqa: S608

# By the index `idempotency_key_due`, which has unfinished keys only. A key that somebody works on
# at this moment is left to them.
SEND_OVERDUE_KEYS_TO_REVIEW = f"""
UPDATE idempotency_idempotencykey
   SET needs_review_at = clock_timestamp(),
       locked_at       = NULL,
       attempt         = attempt + 1,
       journal         = journal || jsonb_build_array(jsonb_build_object(
                           'at', clock_timestamp(), 'event', 'needs_review', 'attempt', attempt + 1,
                           'error', 'unfinished at the end of its retention'))
 WHERE id IN (SELECT id
                FROM idempotency_idempotencykey
               WHERE recovery_point <> '{FINISHED}'
                 AND needs_review_at IS NULL
                 AND created_at < statement_timestamp() - %(retention)s
                 AND (locked_at IS NULL OR locked_at < statement_timestamp() - %(lock_timeout)s)
               LIMIT %(limit)s
                 FOR UPDATE SKIP LOCKED)
"""  # noqa: S608


def reap_finished_keys(limit: int) -> int:
    """Removes up to `limit` finished keys past their retention; returns how many.

    What points at a key does as its `on_delete` says: a ride stays, its reference is set to null.
    """
    with transaction.atomic():
        ids = _find_reapable_keys(limit)
        if ids:
            IdempotencyKey.objects.filter(pk__in=ids).delete()
    return len(ids)


def send_overdue_keys_to_review(limit: int) -> int:
    """Puts up to `limit` unfinished keys past their retention on the review list."""
    settings = conf.current()
    values: dict[str, Any] = {
        "limit": limit,
        "retention": settings.retention,
        "lock_timeout": settings.lock_timeout,
    }
    with connection.cursor() as cursor:
        cursor.execute(SEND_OVERDUE_KEYS_TO_REVIEW, values)
        sent = cursor.rowcount
    if sent:
        logger.error("unfinished keys past their retention need review: count=%d", sent)
    return sent


def _find_reapable_keys(limit: int) -> list[int]:
    values: dict[str, Any] = {"retention": conf.current().retention, "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(FIND_REAPABLE_KEYS, values)
        return [row[0] for row in cursor.fetchall()]
