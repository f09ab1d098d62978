"""Having the completer go on with a request soon, since something has happened to it elsewhere.

Open it for a webhook, or whatever else tells that a foreign system has ended what it had under way.
What it says is not believed: the completer asks, under a lease, as ever.
"""

from collections.abc import Sequence
from datetime import timedelta

from idempotency import conf
from idempotency.database import connection
from idempotency.exceptions import StagedOutsideTransaction
from idempotency.models import FINISHED
from idempotency.staging import stage_job
from idempotency.support.compat import task

LOOK_AGAIN_IN = timedelta(seconds=1)
"""While somebody works on a key: so late is noticed that it was let go."""

# A key that nobody works on is due at once. It moves `run_after` alone, and never to a later time.
# Who may work on the key the claim decides, by `locked_at`, which stays: no lease is shortened by
# it. What is finished, or waits for a person, is not touched. It waits for whoever is writing the
# row, and then sees what was written: a key that was taken meanwhile is passed over.
COMPLETE_SOON = f"""
UPDATE idempotency_idempotencykey
   SET run_after = LEAST(run_after, statement_timestamp())
 WHERE id = ANY(%(key_ids)s)
   AND recovery_point <> '{FINISHED}'
   AND needs_review_at IS NULL
   AND (locked_at IS NULL OR locked_at < statement_timestamp() - %(lock_timeout)s
        OR locked_at > statement_timestamp() + %(clock_tolerance)s)
RETURNING id
"""  # noqa: S608

# Those that it has passed over and that are not done: somebody works on them, or did just now.
ARE_IN_HAND = f"""
SELECT id, locked_at, statement_timestamp()
  FROM idempotency_idempotencykey
 WHERE id = ANY(%(key_ids)s)
   AND recovery_point <> '{FINISHED}'
   AND needs_review_at IS NULL
"""  # noqa: S608

# Such a key is due when the lease that was seen will have ended, should its process have died.
DUE_AFTER_LEASE = f"""
UPDATE idempotency_idempotencykey
   SET run_after = LEAST(run_after, %(lease_ends_at)s)
 WHERE id = %(key_id)s
   AND locked_at = %(locked_at)s
   AND recovery_point <> '{FINISHED}'
"""  # noqa: S608


def complete_soon(*key_ids: int) -> None:
    """Have the completer go on with unfinished requests at its next look.

    In the caller's transaction: it is owed if and only if that commits. A key that somebody works
    on is looked at again, by a job, until its lease was let go or has ended: what that process was
    told may be older than what has happened. Each run counts as one of the completer's attempts.

    Args:
        key_ids: the primary keys of rows of `IdempotencyKey`. Those that are finished, wait for a
            person or do not exist are passed over.

    Raises: `StagedOutsideTransaction` where no transaction is open.
    """
    if not connection.in_atomic_block:
        raise StagedOutsideTransaction("complete_soon was called with no transaction open.")
    if key_ids:
        _make_due(key_ids)


@task()
def look_again(key_ids: list[int]) -> None:
    """Go on with those whose lease was let go since."""
    complete_soon(*key_ids)


def _make_due(key_ids: Sequence[int]) -> None:
    settings = conf.current()
    values = {
        "key_ids": list(key_ids),
        "lock_timeout": settings.lock_timeout,
        "clock_tolerance": settings.clock_tolerance,
    }
    with connection.cursor() as cursor:
        cursor.execute(COMPLETE_SOON, values)
        made_due = {key_id for (key_id,) in cursor.fetchall()}
        passed_over = [key_id for key_id in key_ids if key_id not in made_due]
        if not passed_over:
            return
        cursor.execute(ARE_IN_HAND, {"key_ids": passed_over})
        rows = cursor.fetchall()
        for key_id, locked_at, _ in rows:
            if locked_at:
                lease = {"locked_at": locked_at, "lease_ends_at": locked_at + settings.lock_timeout}
                cursor.execute(DUE_AFTER_LEASE, {"key_id": key_id, **lease})
    if rows:
        in_hand, now = [key_id for key_id, *_ in rows], rows[0][2]
        stage_job(look_again.using(run_after=now + LOOK_AGAIN_IN), in_hand)
