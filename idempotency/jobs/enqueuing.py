"""Where the enqueuer looks for work, so that a look costs little whatever dead rows there are.

An old snapshot keeps every row in place that was ever staged, dead, and an index is read through
them from its beginning: half a million cost 129 ms, ten times a second. So most looks begin at a
position.
"""

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from idempotency import conf
from idempotency.database import connection
from idempotency.jobs.delivering import (
    is_of_a_broker_away,
    redeliver_overdue_jobs,
    take_jobs_whose_time_has_come,
    take_staged_jobs,
)
from idempotency.support.batches import Batch
from idempotency.transactions import repeated_on_conflict

NUMBERS_LOOKED_BACK = 1_000
"""A transaction may commit after others whose jobs have higher numbers. What is later than by so
many of them is found by a look at everything."""

TIME_LOOKED_BACK = timedelta(seconds=10)
"""A transaction may commit a job when it is due already. What is later than by so much is found by
a look at everything, as is whatever waited while no enqueuer ran."""

LOOKS_AT_EVERYTHING_PER_REDELIVERY = 6

# The smallest of each, which is the first entry of an index. EXISTS (… ORDER BY … LIMIT 1) would be
# free to read the table instead, and to its end where it finds nothing: EXISTS drops the ORDER BY.
# Jobs for later have an index of their own, of which no look reads what is not due. A time
# goes back as PostgreSQL wrote it, which no time zone of this process's can shift.
LOOK_AT_EVERYTHING = """
SELECT (SELECT min(id) FROM idempotency_stagedjob WHERE run_after IS NULL),
       (SELECT last_value FROM idempotency_stagedjob_id_seq),
       (SELECT min(run_after) FROM idempotency_stagedjob
         WHERE run_after <= statement_timestamp())::text,
       (SELECT min(handed_over_at) FROM idempotency_jobdelivery WHERE set_aside_at IS NULL)
       < statement_timestamp() - %(redelivery_after)s
    OR (SELECT max(handed_over_at) FROM idempotency_jobdelivery WHERE set_aside_at IS NULL)
       > statement_timestamp() + %(clock_tolerance)s
"""

LOOK_FROM_POSITION = """
SELECT (SELECT min(id) FROM idempotency_stagedjob
         WHERE run_after IS NULL AND id >= %(position)s),
       (SELECT last_value FROM idempotency_stagedjob_id_seq),
       (SELECT min(run_after) FROM idempotency_stagedjob
         WHERE run_after BETWEEN statement_timestamp() - %(time_looked_back)s
                             AND statement_timestamp())::text,
       false
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What a look found: the first staged job, the highest number so far, the time of the first job
    for later that is due by now, anything overdue.
    """

    first_id: int | None
    highest_number: int
    due_from: str | None
    is_overdue: bool


class Lookout:
    """Keep where the next look begins, and when everything is due to be looked at again.

    What has to be handed over again need not be found ten times a second, so that is in the look at
    everything.
    """

    def __init__(self) -> None:
        self._position = 0
        self._everything_due_at = 0.0

    def enqueue(self, limit: int) -> Batch:
        """Look, and hand over up to `limit` staged jobs, as many that were for later and are due,
        and as many that are overdue.

        Raises: the error of a broker that is away, when all that is for others was handed over.
        """
        found = self._look()
        counts: list[int] = []
        away: Exception | None = None
        for hand_over in (self._hand_over_staged, self._hand_over_due, self._hand_over_overdue):
            try:
                counts.append(hand_over(found, limit))
            except Exception as error:
                if not is_of_a_broker_away(error):
                    raise
                away = error
        if away:
            raise away
        return Batch({"enqueued": sum(counts)}, is_full=max(counts) >= limit)

    def _hand_over_staged(self, found: Found, limit: int) -> int:
        taken = []
        if found.first_id is not None:
            taken = take_staged_jobs(limit, first_id=found.first_id)
        # Of a backlog the next look finds the rest where this one ended.
        self._position = (
            taken[-1].staged_id + 1
            if len(taken) >= limit
            else found.highest_number - NUMBERS_LOOKED_BACK
        )
        return len(taken)

    def _hand_over_due(self, found: Found, limit: int) -> int:
        if found.due_from is None:
            return 0
        taken = take_jobs_whose_time_has_come(limit, due_from=found.due_from)
        return self._noted(len(taken), limit)

    def _hand_over_overdue(self, found: Found, limit: int) -> int:
        return self._noted(redeliver_overdue_jobs(limit), limit) if found.is_overdue else 0

    def _noted(self, count: int, limit: int) -> int:
        """Of a backlog the rest is found by a look at everything only, so that is next."""
        if count >= limit:
            self._everything_due_at = 0.0
        return count

    def _look(self) -> Found:
        settings = conf.current()
        if time.monotonic() < self._everything_due_at:
            position = {"position": self._position, "time_looked_back": TIME_LOOKED_BACK}
            return _asked(LOOK_FROM_POSITION, position)
        values = {
            "redelivery_after": settings.redelivery_after,
            "clock_tolerance": settings.clock_tolerance,
        }
        found = _asked(LOOK_AT_EVERYTHING, values)
        pause = settings.redelivery_after / LOOKS_AT_EVERYTHING_PER_REDELIVERY
        self._everything_due_at = time.monotonic() + pause.total_seconds()
        return found


@repeated_on_conflict
def _asked(statement: str, values: dict[str, Any]) -> Found:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        first_id, highest_number, due_from, is_overdue = cursor.fetchone()
    return Found(first_id, highest_number, due_from, bool(is_overdue))
