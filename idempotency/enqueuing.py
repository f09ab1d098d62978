"""Where the enqueuer looks for work, so that a look costs little whatever dead rows there are.

An old snapshot keeps every row in place that was ever staged, dead, and an index is read through
them from its beginning: half a million cost 129 ms, ten times a second. So most looks begin at a
position.
"""

import time
from dataclasses import dataclass
from typing import Any

from django.db import connection

from idempotency import conf
from idempotency.jobs import redeliver_overdue_jobs, take_staged_jobs

NUMBERS_LOOKED_BACK = 1_000
"""A transaction may commit after others whose jobs have higher numbers. What comes later than by so
many of them, a look at everything finds."""

LOOKS_AT_EVERYTHING_PER_REDELIVERY = 6

# The smallest of each, which is the first entry of an index. EXISTS (… ORDER BY … LIMIT 1) would be
# free to read the table instead, and to its end where it finds nothing: EXISTS drops the ORDER BY.
LOOK_AT_EVERYTHING = """
SELECT (SELECT min(id) FROM idempotency_stagedjob),
       (SELECT last_value FROM idempotency_stagedjob_id_seq),
       (SELECT min(handed_over_at) FROM idempotency_jobdelivery WHERE set_aside_at IS NULL)
       < statement_timestamp() - %(redelivery_after)s
"""

LOOK_FROM_POSITION = """
SELECT (SELECT min(id) FROM idempotency_stagedjob WHERE id >= %(position)s),
       (SELECT last_value FROM idempotency_stagedjob_id_seq),
       false
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What a look found: the first staged job, the highest number so far, anything overdue."""

    first_id: int | None
    highest_number: int
    is_overdue: bool


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What a batch handed over, and whether there may be more."""

    count: int
    is_full: bool


class Lookout:
    """Remembers where the next look begins, and when everything is due to be looked at again.

    What has to be handed over again need not be found ten times a second, so that is in the look at
    everything.
    """

    def __init__(self) -> None:
        self._position = 0
        self._everything_due_at = 0.0

    def enqueue(self, limit: int) -> Enqueued:
        """Looks, and hands over up to `limit` staged jobs and as many that are overdue."""
        found = self._look()
        taken = []
        if found.first_id is not None:
            taken = take_staged_jobs(limit, first_id=found.first_id)
        is_full = len(taken) >= limit
        # Of a backlog the next look finds the rest where this one ended.
        self._position = (
            taken[-1].staged_id + 1 if is_full else found.highest_number - NUMBERS_LOOKED_BACK
        )
        redelivered = redeliver_overdue_jobs(limit) if found.is_overdue else 0
        if redelivered >= limit:
            self._everything_due_at = 0.0
            is_full = True
        return Enqueued(len(taken) + redelivered, is_full)

    def _look(self) -> Found:
        redelivery_after = conf.current().redelivery_after
        if time.monotonic() < self._everything_due_at:
            return _asked(LOOK_FROM_POSITION, {"position": self._position})
        found = _asked(LOOK_AT_EVERYTHING, {"redelivery_after": redelivery_after})
        pause = redelivery_after / LOOKS_AT_EVERYTHING_PER_REDELIVERY
        self._everything_due_at = time.monotonic() + pause.total_seconds()
        return found


def _asked(statement: str, values: dict[str, Any]) -> Found:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        first_id, highest_number, is_overdue = cursor.fetchone()
    return Found(first_id, highest_number, bool(is_overdue))
