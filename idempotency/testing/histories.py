"""What became of each key, as the database itself recorded it: every committed change of its row.

A trigger writes it down, so that no code path can change a key unseen. It exists only while a test
is being recorded.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from idempotency.models import IdempotencyKey

_TABLE = IdempotencyKey._meta.db_table

START_RECORDING = f"""
CREATE TABLE IF NOT EXISTS idempotency_testing_history
       (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
        idempotency_key text NOT NULL, before jsonb, after jsonb);
CREATE INDEX IF NOT EXISTS idempotency_testing_history_by_key
    ON idempotency_testing_history (idempotency_key);
CREATE OR REPLACE FUNCTION idempotency_testing_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO idempotency_testing_history (idempotency_key, before, after)
    VALUES (COALESCE(NEW.idempotency_key, OLD.idempotency_key), to_jsonb(OLD), to_jsonb(NEW));
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER idempotency_testing_record
 AFTER INSERT OR UPDATE OR DELETE ON {_TABLE}
   FOR EACH ROW EXECUTE FUNCTION idempotency_testing_record();
"""  # noqa: S608 - the table of our own model

STOP_RECORDING = f"""
DROP TRIGGER IF EXISTS idempotency_testing_record ON {_TABLE};
DROP FUNCTION IF EXISTS idempotency_testing_record();
DROP TABLE IF EXISTS idempotency_testing_history;
"""

READ_HISTORY = """
SELECT at, before::text, after::text
  FROM idempotency_testing_history
 WHERE idempotency_key = %(idempotency_key)s
 ORDER BY id
"""

IS_RECORDING = "SELECT to_regclass('idempotency_testing_history') IS NOT NULL"
LAST_CHANGE = "SELECT COALESCE(max(id), 0) FROM idempotency_testing_history"
FORGET_CHANGES = "DELETE FROM idempotency_testing_history WHERE id > %s"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """A committed change of a key's row; without `before` it was inserted, without `after` it was
    deleted.
    """

    at: datetime
    before: Row | None
    after: Row | None

    def time(self, column: str) -> datetime | None:
        """A time of the row as it was before, where it was set."""
        value = self.before and self.before[column]
        return datetime.fromisoformat(value) if value else None


@contextmanager
def recorded_histories() -> Iterator[None]:
    """Records the changes of keys while the block runs."""
    _execute(START_RECORDING)
    try:
        yield
    finally:
        _execute(STOP_RECORDING)


def history_of(idempotency_key: str) -> list[Change]:
    with connection.cursor() as cursor:
        cursor.execute(READ_HISTORY, {"idempotency_key": idempotency_key})
        rows = cursor.fetchall()
    return [Change(at, _row(before), _row(after)) for at, before, after in rows]


def last_change() -> int:
    """The number of the latest change, 0 where nothing is recorded."""
    with connection.cursor() as cursor:
        cursor.execute(IS_RECORDING)
        if not cursor.fetchone()[0]:
            return 0
        cursor.execute(LAST_CHANGE)
        return int(cursor.fetchone()[0])


def forget_changes_after(number: int) -> None:
    """Has the later changes be lost with the commits that made them."""
    with connection.cursor() as cursor:
        cursor.execute(IS_RECORDING)
        if cursor.fetchone()[0]:
            cursor.execute(FORGET_CHANGES, [number])


def _row(text: str | None) -> Row | None:
    return None if text is None else json.loads(text)


def _execute(statements: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements)
