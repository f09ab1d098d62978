"""Whether any key is due: the idle completer's one question."""

from datetime import timedelta
from typing import Any

from idempotency import conf, failures
from idempotency.database import connection
from idempotency.models import FINISHED
from idempotency.phases import LONGEST_PAUSE
from idempotency.support.positions import Position
from idempotency.transactions import repeated_on_conflict

LONGEST_INSERT = timedelta(seconds=30)
"""A fresh key is due after its grace. Where there is none, its claim has committed by then."""

WAITS_TOO_LONG = """run_after > statement_timestamp() + %(longest_wait)s
   AND (pending_since IS NULL OR run_after > statement_timestamp() + %(longest_pause)s)"""

# Whether a key is due, and since when. A key that somebody works on counts,
# so that the position stays before it. And whether one is to wait longer than any rule has it.
FIND_DUE_KEYS = f"""
SELECT statement_timestamp(),
       (SELECT min(run_after) FROM idempotency_idempotencykey
         WHERE recovery_point <> '{FINISHED}' AND needs_review_at IS NULL
           AND run_after BETWEEN %(begin_at)s AND statement_timestamp()),
       EXISTS (SELECT FROM idempotency_idempotencykey
                WHERE recovery_point <> '{FINISHED}' AND needs_review_at IS NULL
                  AND {WAITS_TOO_LONG})
"""  # noqa: S608

# Keys whose wait was set by a clock that was ahead, and has been set right: they are due.
MAKE_DUE = f"""
UPDATE idempotency_idempotencykey
   SET run_after = statement_timestamp()
 WHERE recovery_point <> '{FINISHED}' AND needs_review_at IS NULL
   AND {WAITS_TOO_LONG}
"""  # noqa: S608


@repeated_on_conflict
def find_due_keys(position: Position) -> bool:
    """Say whether any key is due, and move the position on to the first of them."""
    with position.look(), connection.cursor() as cursor:
        values: dict[str, Any] = {
            "begin_at": position.at,
            "longest_wait": _with_tolerance(failures.longest_wait()),
            "longest_pause": _with_tolerance(LONGEST_PAUSE),
        }
        cursor.execute(FIND_DUE_KEYS, values)
        [(now, due_since, impossible)] = cursor.fetchall()
        if impossible:
            cursor.execute(MAKE_DUE, values)
    position.at = max(position.at, due_since or now - LONGEST_INSERT)
    return bool(due_since or impossible)


def _with_tolerance(wait: timedelta) -> timedelta:
    return wait + conf.current().clock_tolerance
