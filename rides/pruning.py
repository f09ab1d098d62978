"""Removing audit records that nobody has to keep any longer."""

from datetime import timedelta
from typing import Any

from django.db import connection

# Records are numbered in the order of their time, so it reads from the oldest on, and no more than
# it removes but for one. Chosen once: a limit is a limit, whatever the planner believes.
REMOVE_OLD_RECORDS = """
WITH batch AS MATERIALIZED (
    SELECT id
      FROM rides_auditrecord
     WHERE id < COALESCE((SELECT id FROM rides_auditrecord
                           WHERE created_at >= statement_timestamp() - %(older_than)s
                           ORDER BY id LIMIT 1),
                         9223372036854775807)
     ORDER BY id
     LIMIT %(limit)s
)
DELETE FROM rides_auditrecord WHERE id IN (SELECT id FROM batch)
"""


def remove_audit_records(*, older_than: timedelta, limit: int) -> int:
    """Remove up to `limit` records, the oldest first; return how many."""
    values: dict[str, Any] = {"older_than": older_than, "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(REMOVE_OLD_RECORDS, values)
        return cursor.rowcount
