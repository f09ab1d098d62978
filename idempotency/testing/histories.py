"""What became of each key, as the database itself recorded it: every committed change of its row.

And of each job when it was drained, and what it was handed over with. Triggers write it down, so
that no code path can change a key unseen. It exists only while a test
is being recorded.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from idempotency.database import connection
from idempotency.models import IdempotencyKey, JobDelivery, StagedJob

KEYS = IdempotencyKey._meta.db_table
STAGED = StagedJob._meta.db_table
DELIVERIES = JobDelivery._meta.db_table
QUEUE = "django_tasks_database_dbtaskresult"

# Of each table what is recorded, and where its row names the key or the job that it is about. The
# queue's is only there where the queue is in our database.
_RECORDED = {
    KEYS: ("INSERT OR UPDATE OR DELETE", "{idempotency_key}"),
    STAGED: ("DELETE", "{job_id}"),
    DELIVERIES: ("INSERT", "{job_id}"),
    QUEUE: ("INSERT", "{args_kwargs,args,0}"),
}

START_RECORDING = """
CREATE TABLE IF NOT EXISTS idempotency_testing_history
       (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
        about text, changed_table text NOT NULL, before jsonb, after jsonb);
CREATE INDEX IF NOT EXISTS idempotency_testing_history_by_subject
    ON idempotency_testing_history (about);
CREATE OR REPLACE FUNCTION idempotency_testing_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO idempotency_testing_history (about, changed_table, before, after)
    VALUES (COALESCE(to_jsonb(NEW), to_jsonb(OLD)) #>> TG_ARGV[0]::text[], TG_TABLE_NAME,
            to_jsonb(OLD), to_jsonb(NEW));
    RETURN NULL;
END $$;
"""

RECORD_TABLE = """
CREATE OR REPLACE TRIGGER idempotency_testing_record
 AFTER {changes} ON {table}
   FOR EACH ROW EXECUTE FUNCTION idempotency_testing_record('{about}');
"""

STOP_RECORDING = """
DROP FUNCTION IF EXISTS idempotency_testing_record() CASCADE;
DROP TABLE IF EXISTS idempotency_testing_history;
"""

READ_HISTORY = """
SELECT at, before::text, after::text, changed_table
  FROM idempotency_testing_history
 WHERE about = %(about)s
 ORDER BY id
"""

IS_RECORDING = "SELECT to_regclass('idempotency_testing_history') IS NOT NULL"
LAST_CHANGE = "SELECT COALESCE(max(id), 0) FROM idempotency_testing_history"
FORGET_CHANGES = "DELETE FROM idempotency_testing_history WHERE id > %s"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """A committed change of a row; without `before` it was inserted, without `after` it was
    deleted.
    """

    at: datetime
    before: Row | None
    after: Row | None
    table: str = KEYS

    def time(self, column: str) -> datetime | None:
        """A time of the row as it was before, where it was set."""
        value = self.before and self.before[column]
        return datetime.fromisoformat(value) if value else None


@contextmanager
def recorded_histories() -> Iterator[None]:
    """Record the changes of keys and jobs while the block runs."""
    _execute(START_RECORDING)
    for table, (changes, about) in _RECORDED.items():
        if table in connection.introspection.table_names():
            _execute(RECORD_TABLE.format(table=table, changes=changes, about=about))
    try:
        yield
    finally:
        _execute(STOP_RECORDING)


def history_of(about: str) -> list[Change]:
    """Of a client's key, or of the id of a job."""
    with connection.cursor() as cursor:
        cursor.execute(READ_HISTORY, {"about": about})
        rows = cursor.fetchall()
    return [Change(at, _row(before), _row(after), table) for at, before, after, table in rows]


def last_change() -> int:
    """The number of the latest change, 0 where nothing is recorded."""
    with connection.cursor() as cursor:
        cursor.execute(IS_RECORDING)
        if not cursor.fetchone()[0]:
            return 0
        cursor.execute(LAST_CHANGE)
        return int(cursor.fetchone()[0])


def forget_changes_after(number: int) -> None:
    """Have the later changes be lost with the commits that made them."""
    with connection.cursor() as cursor:
        cursor.execute(IS_RECORDING)
        if cursor.fetchone()[0]:
            cursor.execute(FORGET_CHANGES, [number])


def _row(text: str | None) -> Row | None:
    return None if text is None else json.loads(text)


def _execute(statements: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements)
