"""Take a key: the claim.

Every statement that decides who may work on a key stands here as SQL, once. Each is a single
conditional write, never a read and then a write.
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import OperationalError, connection
from django.db.backends.utils import CursorWrapper

from idempotency import conf
from idempotency.exceptions import RequestInProgress
from idempotency.leases import JOURNAL_WITH_ROOM, Lease, lease_end
from idempotency.models import FINISHED, STARTED, IdempotencyKey
from idempotency.statements import run
from idempotency.transactions import waited_for_an_insert_into

# What a process needs of a key to work on it or to answer from it.
_COLUMNS = [
    f.attname for f in IdempotencyKey._meta.concrete_fields if f.name not in ("journal", "id")
]
_SELECTED = ", ".join(["id", *_COLUMNS])


@dataclass(frozen=True)
class NewKey:
    """A request that passed its checks, as it will be written. Its parameters are JSON's."""

    user_id: int
    idempotency_key: str
    operation: str
    path_kwargs: dict[str, Any]
    foreign_key: UUID
    request_method: str
    request_path: str
    request_params: dict[str, Any]
    fingerprint: str
    origin_ip: str | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that is ours until the lease ends."""

    key: IdempotencyKey
    lease: Lease


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as it was read, at `read_at` of the database's clock."""

    key: IdempotencyKey
    read_at: datetime

    @property
    def lease_seconds_left(self) -> int:
        """Whole seconds until the lease on the key has ended; 0 where nobody holds one."""
        if self.key.locked_at is None:
            return 0
        left = self.key.locked_at + conf.current().lock_timeout - self.read_at
        return max(0, math.ceil(left.total_seconds()))


# A plain read: no row lock, no transaction id, so a finished key is answered without a flush.
FIND_KEY = f"""
SELECT {_SELECTED}, clock_timestamp()
  FROM idempotency_idempotencykey
 WHERE user_id = %(user_id)s AND idempotency_key = %(idempotency_key)s
"""  # noqa: S608 - column names of our own model

# The claim of a fresh key. Of any number of requests that insert it at once the unique constraint
# lets one through; the others wait for that transaction and then insert nothing.
INSERT_KEY = f"""
INSERT INTO idempotency_idempotencykey
       (user_id, idempotency_key, request_method, request_path, request_params, fingerprint,
        operation, path_kwargs,
        origin_ip, foreign_key, recovery_point, attempt,
        created_at, last_run_at, locked_at, foreign_sent_at, run_after, last_error, journal)
SELECT %(user_id)s, %(idempotency_key)s, %(request_method)s, %(request_path)s,
       %(request_params)s::jsonb, %(fingerprint)s,
       %(operation)s, %(path_kwargs)s::jsonb,
       %(origin_ip)s::inet, %(foreign_key)s::uuid, '{STARTED}', 1,
       now, now, now, CASE WHEN %(begins_foreign_phase)s THEN now END,
       now + %(completer_grace)s, '',
       jsonb_build_array(jsonb_build_object('at', now, 'event', 'claimed', 'attempt', 1))
  FROM (SELECT clock_timestamp() AS now) AS clock
    ON CONFLICT (user_id, idempotency_key) DO NOTHING
RETURNING id, foreign_key, created_at, run_after, foreign_sent_at
"""  # noqa: S608

# The claim of a key that nobody works on: it was let go, or its lease ran out. One conditional
# write, so of any number of processes one gets it; and it raises the fencing token, so whoever
# held it before can write nothing more. After it the completer waits at least its pause.
_TAKE_OVER = f"""
UPDATE idempotency_idempotencykey
   SET locked_at   = clock_timestamp(),
       last_run_at = clock_timestamp(),
       attempt     = attempt + 1,
       run_after   = GREATEST(run_after, clock_timestamp() + %(completer_pause)s),
       journal     = ({JOURNAL_WITH_ROOM})
                     || jsonb_build_array(jsonb_build_object(
                          'at', clock_timestamp(), 'event', %(event)s, 'attempt', attempt + 1,
                          'recovery_point', recovery_point))
 WHERE id = {{which}}
   AND recovery_point <> '{FINISHED}'
   AND needs_review_at IS NULL
   AND (locked_at IS NULL OR locked_at < statement_timestamp() - %(lock_timeout)s)
RETURNING {_SELECTED}
"""  # noqa: S608

TAKE_OVER_KEY = _TAKE_OVER.format(which="%(id)s")

# The next key among many: SKIP LOCKED passes over those that another process is taking at this
# moment.
_NEXT = f"""(
       SELECT id
         FROM idempotency_idempotencykey
        WHERE recovery_point <> '{FINISHED}'
          AND needs_review_at IS NULL
          AND (locked_at IS NULL OR locked_at < statement_timestamp() - %(lock_timeout)s)
          AND {{due}}
        LIMIT 1
          FOR UPDATE SKIP LOCKED)"""  # noqa: S608

# The completer's claim: the key that is due longest, by the index `idempotency_key_due`.
TAKE_OVER_NEXT_DUE_KEY = _TAKE_OVER.format(
    which=_NEXT.format(due="run_after <= statement_timestamp() ORDER BY run_after")
)

# The reaper's claim of an unfinished key that is past its retention. The same index has all of
# those, and they are few: it has unfinished keys only.
TAKE_OVER_NEXT_OVERDUE_KEY = _TAKE_OVER.format(
    which=_NEXT.format(due="created_at < statement_timestamp() - %(retention)s")
)

# A person's claim, of a key on the review list: what takes it off the list is a decision, on the
# request as it was when the person's process read it. If that process dies before it has carried
# the decision out, the key is an unfinished one like any other.
REOPEN_KEY = f"""
UPDATE idempotency_idempotencykey
   SET needs_review_at = NULL,
       recovery_point  = %(recovery_point)s,
       locked_at       = clock_timestamp(),
       last_run_at     = clock_timestamp(),
       attempt         = attempt + 1,
       run_after       = GREATEST(run_after, clock_timestamp() + %(completer_pause)s),
       journal         = ({JOURNAL_WITH_ROOM})
                         || jsonb_build_array(jsonb_build_object(
                              'at', clock_timestamp(), 'event', 'reviewed', 'attempt', attempt + 1,
                              'recovery_point', %(recovery_point)s, 'action', %(action)s,
                              'reviewer', %(reviewer)s, 'reason', %(reason)s))
 WHERE id = %(id)s
   AND attempt = %(attempt)s
   AND needs_review_at IS NOT NULL
RETURNING {_SELECTED}
"""  # noqa: S608


def find_key(user_id: int, idempotency_key: str) -> StoredKey | None:
    """Reads the key of a user, without its journal and without any lock."""
    with connection.cursor() as cursor:
        run(cursor, FIND_KEY, {"user_id": user_id, "idempotency_key": idempotency_key})
        row = cursor.fetchone()
    return None if row is None else StoredKey(_key_from(row[:-1]), read_at=row[-1])


def insert_key(new_key: NewKey, *, begins_foreign_phase: bool) -> Claim | None:
    """Claims a key that nobody has used yet. None where somebody else inserted it first.

    Args:
        begins_foreign_phase: whether the operation's first phase is a foreign one, so that its
            intent is committed with the claim.

    *Raises* `RequestInProgress` where another request's insert of the key took longer to commit
    than the connection's `lock_timeout`.
    """
    asked_at = time.monotonic()
    values: dict[str, Any] = {
        **vars(new_key),
        "path_kwargs": json.dumps(new_key.path_kwargs),
        "request_params": json.dumps(new_key.request_params),
        "begins_foreign_phase": begins_foreign_phase,
        "completer_grace": conf.current().completer_grace,
    }
    with connection.cursor() as cursor:
        try:
            run(cursor, INSERT_KEY, values)
        except OperationalError as error:
            if waited_for_an_insert_into(IdempotencyKey._meta.db_table, error):
                raise request_in_progress(retry_after_seconds=1) from error
            raise
        row = cursor.fetchone()
    return None if row is None else _fresh_claim(new_key, row, asked_at)


def take_over_key(key_id: int) -> Claim | None:
    """Claims an unfinished key for a retry. None where another process holds its lease."""
    return _take_over(TAKE_OVER_KEY, event="retried", id=key_id)


def take_over_next_due_key() -> Claim | None:
    """Claims the key that the completer should run next. None where none is due."""
    return _take_over(TAKE_OVER_NEXT_DUE_KEY, event="taken_by_completer")


def reopen_key(
    key: IdempotencyKey, *, recovery_point: str, action: str, reviewer: str, reason: str
) -> Claim | None:
    """Claims a key of the review list, to go on from `recovery_point`. None where it is not, or no
    longer, as it was read.
    """
    values: dict[str, Any] = {
        "id": key.pk,
        "attempt": key.attempt,
        "recovery_point": recovery_point,
        "action": action,
        "reviewer": reviewer,
        "reason": reason,
        "completer_pause": conf.current().completer_pause,
    }
    asked_at = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute(REOPEN_KEY, values)
        return _claim_from(cursor, asked_at)


def request_in_progress(*, retry_after_seconds: int) -> RequestInProgress:
    return RequestInProgress(
        "A request with this Idempotency-Key is being worked on. Retry with the same key later.",
        retry_after_seconds=retry_after_seconds,
    )


def take_over_next_overdue_key() -> Claim | None:
    """Claims an unfinished key that is past its retention. None where there is none."""
    return _take_over(
        TAKE_OVER_NEXT_OVERDUE_KEY, event="taken_by_reaper", retention=conf.current().retention
    )


def _take_over(statement: str, *, event: str, **which: Any) -> Claim | None:
    settings = conf.current()
    values: dict[str, Any] = {
        **which,
        "event": event,
        "lock_timeout": settings.lock_timeout,
        "completer_pause": settings.completer_pause,
    }
    asked_at = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return _claim_from(cursor, asked_at)


def _fresh_claim(new_key: NewKey, row: Sequence[Any], asked_at: float) -> Claim:
    key_id, foreign_key, now, run_after, foreign_sent_at = row
    written = {
        **dict.fromkeys(_COLUMNS),
        **vars(new_key),
        "foreign_key": foreign_key,
        "recovery_point": STARTED,
        "attempt": 1,
        "created_at": now,
        "last_run_at": now,
        "locked_at": now,
        "run_after": run_after,
        "foreign_sent_at": foreign_sent_at,
        "last_error": "",
    }
    key = IdempotencyKey.from_db(connection.alias, ["id", *written], [key_id, *written.values()])
    return Claim(key, Lease(key.pk, key.attempt, lease_end(asked_at)))


def _claim_from(cursor: CursorWrapper, asked_at: float) -> Claim | None:
    row = cursor.fetchone()
    if row is None:
        return None
    key = _key_from(row)
    return Claim(key, Lease(key.pk, key.attempt, lease_end(asked_at)))


def _key_from(row: Sequence[Any]) -> IdempotencyKey:
    values = dict(zip(["id", *_COLUMNS], row, strict=True))
    values["path_kwargs"] = json.loads(values["path_kwargs"])
    values["request_params"] = json.loads(values["request_params"])
    return IdempotencyKey.from_db(connection.alias, list(values), list(values.values()))
