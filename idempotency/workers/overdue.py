"""What is there for the reaper to do: the questions that it asks before each batch."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from idempotency import conf
from idempotency.claims import KEY_IS_OVERDUE
from idempotency.database import connection
from idempotency.models import FINISHED
from idempotency.support.positions import Position
from idempotency.transactions import repeated_on_conflict

# Whether there are answers to take away, by the next one after the reaper's position in the table,
# and the oldest key of all from its position in memory on. Each reads one entry of the index.
FINISHED_KEYS_ARE_OVERDUE = f"""
  WITH position AS MATERIALIZED (SELECT last_run_at FROM idempotency_reaperposition)
SELECT (SELECT min(last_run_at) FROM idempotency_idempotencykey
         WHERE recovery_point = '{FINISHED}' AND response_body IS NOT NULL
           AND last_run_at >= COALESCE((SELECT last_run_at FROM position), 'epoch'))
       < statement_timestamp() - %(retention)s,
       LEAST(statement_timestamp() - %(tombstone_retention)s,
             (SELECT min(last_run_at) FROM idempotency_idempotencykey
               WHERE recovery_point = '{FINISHED}' AND last_run_at >= %(begin_at)s)),
       statement_timestamp() - %(tombstone_retention)s"""  # noqa: S608

# And the unfinished keys, which are few: whether one is overdue, and which run is the
# oldest of those that may still finish. No index has them in the order of either, so it reads the
# entries of all keys that were unfinished since the last vacuum; once a minute is often enough.
KEYS_ARE_OVERDUE = f"""
{FINISHED_KEYS_ARE_OVERDUE},
       is_overdue,
       LEAST(last_run_at, statement_timestamp()),
       (SELECT last_run_at FROM position) > statement_timestamp() + %(clock_tolerance)s
  FROM (SELECT bool_or({KEY_IS_OVERDUE}) AS is_overdue, min(last_run_at) AS last_run_at
          FROM idempotency_idempotencykey
         WHERE recovery_point <> '{FINISHED}' AND needs_review_at IS NULL) AS unfinished
"""  # noqa: S608

# A position in the future was written while the database's clock was ahead. This reads the
# whole table, once.
BEGIN_ANEW = f"""
UPDATE idempotency_reaperposition
   SET last_run_at = COALESCE((SELECT min(last_run_at) FROM idempotency_idempotencykey
                                WHERE response_body IS NOT NULL OR recovery_point <> '{FINISHED}'),
                              'epoch')
 WHERE last_run_at > statement_timestamp() + %(clock_tolerance)s
"""  # noqa: S608


@dataclass(slots=True)
class Overdue:
    """What a reaper found when it looked, and where its next look begins."""

    position: Position = field(default_factory=Position)
    answers: bool = False
    tombstones: bool = False
    requests: bool = False
    unfinished_since: datetime | None = None
    """The oldest run that may still finish; the time of the look, where there was none then."""

    @repeated_on_conflict
    def look(self) -> None:
        """Ask the idle reaper's one question."""
        with self.position.look() as looks_at_all, connection.cursor() as cursor:
            settings = conf.current()
            values: dict[str, Any] = {
                "retention": settings.retention,
                "tombstone_retention": settings.tombstone_retention,
                "clock_tolerance": settings.clock_tolerance,
                "begin_at": self.position.at,
            }
            cursor.execute(KEYS_ARE_OVERDUE if looks_at_all else FINISHED_KEYS_ARE_OVERDUE, values)
            [row] = cursor.fetchall()
            if looks_at_all and row[5]:
                cursor.execute(BEGIN_ANEW, values)
        self.answers, oldest, horizon = bool(row[0]), row[1], row[2]
        self.tombstones = oldest < horizon
        if oldest > self.position.at:
            self.position.at, self.position.id = oldest, 0
        if looks_at_all:
            self.requests, self.unfinished_since = bool(row[3]), row[4]
