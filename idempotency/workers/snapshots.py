"""The log's line of a snapshot that has held vacuum back for long: whose it is, once.

A transaction that was left open, a dump, a standby's feedback, a replication slot, a prepared
transaction: while one lasts, no dead row of any table can go, and everything becomes slower.
"""

import logging
import time
from datetime import timedelta

from idempotency.database import connection

logger = logging.getLogger(__name__)

TOO_OLD = timedelta(minutes=15)
LOOK_EVERY_SECONDS = 60.0

# Whoever holds vacuum back in this database, and since when. Of a slot and of a standby nobody
# notes the time: for those it is how long the same oldest transaction was seen. A role without
# `pg_read_all_stats` is not shown the snapshots of other roles.
SNAPSHOTS = """
SELECT format('pid=%s since=%s', pid, date_trunc('second', xact_start AT TIME ZONE 'UTC')),
       format('user=%s application=%s state=%s',
              quote_ident(usename), quote_ident(application_name), quote_ident(state)),
       EXTRACT(epoch FROM statement_timestamp() - xact_start)
  FROM pg_stat_activity
 WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
   AND backend_type = 'client backend'
   AND datname = current_database()
   AND pid <> pg_backend_pid()
 UNION ALL
SELECT format('prepared_transaction=%s', quote_ident(gid)), format('user=%s', quote_ident(owner)),
       EXTRACT(epoch FROM statement_timestamp() - prepared)
  FROM pg_prepared_xacts
 WHERE database = current_database()
 UNION ALL
SELECT format('replication_slot=%s xmin=%s', quote_ident(slot_name), xmin), '', NULL
  FROM pg_replication_slots
 WHERE xmin IS NOT NULL
 UNION ALL
SELECT format('standby=%s xmin=%s', quote_ident(application_name), backend_xmin), '', NULL
  FROM pg_stat_replication
 WHERE backend_xmin IS NOT NULL
"""


class SnapshotWatch:
    """Keep in memory what one worker has seen and logged."""

    def __init__(self) -> None:
        self._looks_from = 0.0
        self._first_seen: dict[str, float] = {}
        self._logged: set[str] = set()

    def look(self) -> None:
        """Log each snapshot that has become too old, once. Do nothing if it looked lately."""
        now = time.monotonic()
        if now < self._looks_from:
            return
        self._looks_from = now + LOOK_EVERY_SECONDS
        for holder, details, seconds in self._held(now):
            if seconds >= TOO_OLD.total_seconds() and holder not in self._logged:
                self._logged.add(holder)
                logger.warning(
                    "an old snapshot holds vacuum back: minutes=%d %s",
                    seconds / 60,
                    f"{holder} {details}".rstrip(),
                )

    def _held(self, now: float) -> list[tuple[str, str, float]]:
        with connection.cursor() as cursor:
            cursor.execute(SNAPSHOTS)
            rows = cursor.fetchall()
        holders = {holder for holder, _, _ in rows}
        self._first_seen = {each: self._first_seen.get(each, now) for each in holders}
        self._logged &= holders
        return [
            (holder, details, now - self._first_seen[holder] if age is None else float(age))
            for holder, details, age in rows
        ]
