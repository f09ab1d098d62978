"""Forgetting a user's requests before their time: for a project that has to erase who somebody was.

In the caller's transaction. What is erased is what the reaper erases after the retention; a retry
of such a request is told that it was finished (410). What is unfinished needs what it was asked.
"""

from idempotency.database import connection
from idempotency.models import FINISHED, IdempotencyKey
from idempotency.workers.reaping import WITHOUT_ANSWER

FORGET_FINISHED_KEYS = f"""
UPDATE idempotency_idempotencykey
   SET {WITHOUT_ANSWER}
 WHERE user_id = %(user_id)s
   AND recovery_point = '{FINISHED}'
   AND response_body IS NOT NULL
"""  # noqa: S608


def unfinished_requests(user_id: int) -> int:
    """Return how many of the user's requests are not finished, those under review included."""
    keys = IdempotencyKey.objects.filter(user_id=user_id)
    return keys.exclude(recovery_point=FINISHED).count()


def forget_finished_requests(user_id: int) -> int:
    """Erase what was asked, from where, and the answer of the user's finished requests, as the
    reaper does after the retention; return how many.
    """
    with connection.cursor() as cursor:
        cursor.execute(FORGET_FINISHED_KEYS, {"user_id": user_id})
        return cursor.rowcount
