"""Take a key: the claim.

Every statement that decides who may work on a key stands here as SQL, once. Each is a single
conditional write, never a read and then a write. Each writes a token that this process has drawn: a
number would be handed out twice by a database that lost its last commits.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

from django.db import OperationalError

from idempotency import conf
from idempotency.database import connection
from idempotency.database_errors import waited_for_an_insert_into
from idempotency.exceptions import RequestInProgress, TooManyUnfinished
from idempotency.leases import (
    NOW,
    Lease,
    growth_of_journal,
    journal_and,
    lease_clock,
    lease_end,
)
from idempotency.models import FINISHED, STARTED, IdempotencyKey
from idempotency.support.context import REQUEST_ID
from idempotency.support.positions import Position
from idempotency.transactions import repeated_on_conflict

# What a process needs of a key to work on it or to answer from it.
_COLUMNS = [
    f.attname for f in IdempotencyKey._meta.concrete_fields if f.name not in ("journal", "id")
]
_SELECTED = ", ".join(["id", *_COLUMNS])

TOO_MANY_RETRY_AFTER_SECONDS = 60


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
    """A key that is ours until the lease ends, and how it came to be."""

    key: IdempotencyKey
    lease: Lease
    event: str = "claimed"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as it was read, at `read_at` of the database's clock."""

    key: IdempotencyKey
    read_at: datetime

    @property
    def pending_seconds_left(self) -> int:
        """Whole seconds until what is pending is asked about again; 0 where that is now."""
        if not self.key.is_pending:
            return 0
        return max(0, math.ceil((self.key.run_after - self.read_at).total_seconds()))

    @property
    def lease_seconds_left(self) -> int:
        """Whole seconds until the lease on the key has ended; 0 where nobody holds one."""
        if self.key.locked_at is None or self.impossible_lease:
            return 0
        lasts = conf.current().lock_timeout
        left = min(self.key.locked_at + lasts - self.read_at, lasts)
        return max(0, math.ceil(left.total_seconds()))

    @property
    def impossible_lease(self) -> datetime | None:
        """When the lease was taken, if that is still to come: by a clock that has been set right.

        Nobody knows when such a lease ends, so it has ended.
        """
        taken_at = self.key.locked_at
        is_to_come = taken_at and taken_at > self.read_at + conf.current().clock_tolerance
        return taken_at if is_to_come else None


# A plain read: no row lock, no transaction id, so a finished key is answered without a flush.
FIND_KEY = f"""
SELECT {_SELECTED}, statement_timestamp()
  FROM idempotency_idempotencykey
 WHERE user_id = %(user_id)s AND idempotency_key = %(idempotency_key)s
"""  # noqa: S608 - column names of our own model

# Whether a user may have another unfinished key. It reads no more of them than the limit, by
# `idempotency_key_unfinished`, whose expression this is. Claims that commit at the same moment do
# not see each other, so a burst goes beyond the limit by as many as are worked on at once, and no
# further.
_HAS_ROOM = f"""(%(max_unfinished)s::bigint IS NULL
        OR %(max_unfinished)s > (
           SELECT count(*)
             FROM (SELECT FROM idempotency_idempotencykey
                    WHERE (CASE WHEN recovery_point <> '{FINISHED}' THEN user_id END) = %(user_id)s
                    LIMIT %(max_unfinished)s) AS unfinished))"""  # noqa: S608

# The claim of a fresh key, or its staging: then nobody holds it, and the completer is due at once.
# Of any number of requests that insert it at once the unique constraint lets one through; the
# others wait for that transaction and then insert nothing.
INSERT_KEY = f"""
INSERT INTO idempotency_idempotencykey
       (user_id, idempotency_key, request_method, request_path, request_params, fingerprint,
        operation, path_kwargs,
        origin_ip, foreign_key, recovery_point, attempt, lease_token,
        created_at, last_run_at, locked_at, foreign_sent_at, run_after, last_error, journal)
SELECT %(user_id)s, %(idempotency_key)s, %(request_method)s, %(request_path)s,
       %(request_params)s::jsonb, %(fingerprint)s,
       %(operation)s, %(path_kwargs)s::jsonb,
       %(origin_ip)s::inet, %(foreign_key)s::uuid, '{STARTED}', 1, %(lease_token)s::uuid,
       statement_timestamp(), statement_timestamp(),
       statement_timestamp() + %(is_claimed)s::interval,
       statement_timestamp() + %(begins_foreign_phase)s::interval,
       statement_timestamp() + %(completer_grace)s, '',
       jsonb_build_array(
         jsonb_build_object('at', statement_timestamp(), 'event', %(event)s::text, 'attempt', 1)
         || %(said)s::jsonb)
 WHERE {_HAS_ROOM}
    ON CONFLICT (user_id, idempotency_key) DO NOTHING
RETURNING {_SELECTED}
"""

# Why nothing was inserted: the user has too many, or the key is there by now.
IS_REFUSED = f"""
SELECT NOT {_HAS_ROOM}
   AND NOT EXISTS (SELECT FROM idempotency_idempotencykey
                    WHERE user_id = %(user_id)s AND idempotency_key = %(idempotency_key)s)
"""  # noqa: S608

# The claim of a key that nobody works on: it was let go, or its lease ran out, or a person takes it
# off the review list. One conditional write, so of any number of processes one gets it; and it
# changes the fencing token, so whoever held it before can write nothing more. After it the
# completer waits at least its pause. A lease that was taken in the future has ended: the database's
# clock was wrong.
_ENTRY = """(jsonb_build_object('at', statement_timestamp(), 'event', %(event)s::text)
          || ('{{"attempt": ' || (attempt + 1)::text || ', "recovery_point": "'
              || replace(replace(COALESCE(%(recovery_point)s, recovery_point), '\\', '\\\\'),
                         '"', '\\"') || '"}}')::jsonb
          || %(said)s::jsonb)"""

_TAKE_OVER = f"""
{{next}}UPDATE idempotency_idempotencykey
   SET needs_review_at = NULL,
       recovery_point  = COALESCE(%(recovery_point)s, recovery_point),{{besides}}
       locked_at   = statement_timestamp(),
       last_run_at = statement_timestamp(),
       attempt     = attempt + 1,
       lease_token = %(lease_token)s,
       run_after   = GREATEST(run_after, statement_timestamp() + %(completer_pause)s),
       completer_attempts = completer_attempts + %(completer_attempts)s,
       journal     = {journal_and(_ENTRY)}
 WHERE id = {{which}}
RETURNING {_SELECTED}{{returned}}
"""  # noqa: S608

# An impossible lease by the very time that was read: this statement may wait for another's, and a
# lease that is taken meanwhile is younger than its beginning.
TAKE_OVER_KEY = _TAKE_OVER.format(
    next="",
    besides="",
    which=f"""%(id)s
   AND recovery_point <> '{FINISHED}'
   AND needs_review_at IS NULL
   AND (locked_at IS NULL OR locked_at < statement_timestamp() - %(lock_timeout)s
        OR locked_at = %(impossible_lease)s)""",
    returned="",
)

# The next key among many, chosen once: SKIP LOCKED passes over those that another process is taking
# at this moment. The row is locked with the condition, so the UPDATE needs none: with it, a planner
# whose statistics are old looks for the one key among all that are or were unfinished.
_NEXT = f"""WITH next AS MATERIALIZED (
SELECT id AS next_id, run_after AS was_due_at
  FROM idempotency_idempotencykey
 WHERE recovery_point <> '{FINISHED}'
   AND needs_review_at IS NULL
   AND (locked_at IS NULL OR locked_at < statement_timestamp() - %(lock_timeout)s
        OR locked_at > statement_timestamp() + %(clock_tolerance)s)
   AND {{due}}
 LIMIT 1
   FOR UPDATE SKIP LOCKED
)
"""  # noqa: S608


def _take_over_next(due: str) -> str:
    return _TAKE_OVER.format(
        next=_NEXT.format(due=due),
        besides="",
        which="(SELECT next_id FROM next)",
        returned=", (SELECT was_due_at FROM next)",
    )


# The completer's claim: the key that is due longest, by the index `idempotency_key_due`, from where
# the completer's position in it is.
TAKE_OVER_NEXT_DUE_KEY = _take_over_next(
    "run_after BETWEEN %(begin_at)s AND statement_timestamp() ORDER BY run_after"
)

# An unfinished key that a person is to see. What is pending has a time of its own: until then it is
# asked about, then it is withdrawn, and a day later somebody looks why that did not end it.
KEY_IS_OVERDUE = """(pending_since IS NULL AND created_at < statement_timestamp() - %(retention)s
        OR gives_up_at < statement_timestamp() - INTERVAL '1 day')"""

# The reaper's claim of an unfinished key that is overdue. The same index has all of those, and they
# are few: it has unfinished keys only.
TAKE_OVER_NEXT_OVERDUE_KEY = _take_over_next(KEY_IS_OVERDUE)

# A person's claim, of a key on the review list: what takes it off the list is a decision, on the
# request as the person saw it: by the token, since another request may have the id by now. If the
# process ends before it has carried the decision out, the key is an unfinished one like any other.
# What is pending belongs to the point: a decision that leads to another one, to undo it, ends it.
_STAYS = "recovery_point = %(recovery_point)s"
REOPEN_KEY = _TAKE_OVER.format(
    next="",
    besides=f"""
       pending_since     = CASE WHEN {_STAYS} THEN pending_since END,
       pending_answer    = CASE WHEN {_STAYS} THEN pending_answer END,
       foreign_reference = CASE WHEN {_STAYS} THEN foreign_reference END,
       gives_up_at       = CASE WHEN {_STAYS} THEN gives_up_at END,
       foreign_question  = foreign_question + %(asks_anew)s,
       foreign_sent_at   = CASE WHEN NOT %(begins_window)s THEN foreign_sent_at END,""",
    which="""%(id)s
   AND lease_token = %(seen_token)s
   AND needs_review_at IS NOT NULL""",
    returned="",
)


# A person's end of a lease, of a process that they know to be gone. The token is another one after
# it, so a process that lives after all can write nothing more. Its call to a foreign system may
# still arrive, as after a lease that has run out; the next attempt sends the same, under the same
# key.
_END = """(jsonb_build_object('at', statement_timestamp(), 'event', 'lease_ended')
          || ('{"attempt": ' || attempt::text || '}')::jsonb || %(said)s::jsonb)"""

END_LEASE = f"""
UPDATE idempotency_idempotencykey
   SET locked_at   = NULL,
       lease_token = %(lease_token)s,
       run_after   = LEAST(run_after, statement_timestamp()),
       journal     = {journal_and(_END)}
 WHERE id = %(id)s
   AND lease_token = %(seen_token)s
   AND locked_at IS NOT NULL
   AND recovery_point <> '{FINISHED}'
"""  # noqa: S608


@repeated_on_conflict
def find_key(user_id: int, idempotency_key: str) -> StoredKey | None:
    """Read the key of a user, without its journal and without any lock."""
    with connection.cursor() as cursor:
        cursor.execute(FIND_KEY, {"user_id": user_id, "idempotency_key": idempotency_key})
        row = cursor.fetchone()
    return None if row is None else StoredKey(_key_from(row[:-1]), read_at=row[-1])


@repeated_on_conflict
def insert_key(
    new_key: NewKey, *, begins_foreign_phase: bool, max_unfinished: int | None = None
) -> Claim | None:
    """Claim a key that nobody has used yet. Return None where somebody else inserted it first.

    Args:
        begins_foreign_phase: whether the operation's first phase is a foreign one, so that its
            intent is committed with the claim.
        max_unfinished: how many unfinished keys the user may have, this one included.

    Raises: `RequestInProgress` where another request's insert of the key took longer to commit
    than the connection's `lock_timeout`, and `TooManyUnfinished`.
    """
    asked_at = lease_clock()
    values = {
        "is_claimed": NOW,
        "event": "claimed",
        "begins_foreign_phase": NOW if begins_foreign_phase else None,
        "completer_grace": conf.current().completer_grace,
        "max_unfinished": max_unfinished,
    }
    row = _insert(new_key, values)
    if row is None and max_unfinished is not None:
        _refuse_too_many(new_key, max_unfinished)
    return None if row is None else _claim_from(row, asked_at)


def stage_key(new_key: NewKey) -> bool:
    """Insert a key that nobody has used yet, for the completer to begin with; return whether it was
    inserted. In the caller's transaction.
    """
    values = {
        "is_claimed": None,
        "event": "staged",
        "begins_foreign_phase": None,
        "completer_grace": timedelta(0),
        "max_unfinished": None,
    }
    return _insert(new_key, values) is not None


def _insert(new_key: NewKey, how: dict[str, Any]) -> Sequence[Any] | None:
    values = {
        **vars(new_key),
        **how,
        "path_kwargs": json.dumps(new_key.path_kwargs),
        "request_params": json.dumps(new_key.request_params),
        "lease_token": uuid4(),
        "said": _said(),
    }
    with connection.cursor() as cursor:
        try:
            cursor.execute(INSERT_KEY, values)
        except OperationalError as error:
            if waited_for_an_insert_into(IdempotencyKey._meta.db_table, error):
                raise request_in_progress(retry_after_seconds=1) from error
            raise
        row: Sequence[Any] | None = cursor.fetchone()
        return row


def _refuse_too_many(new_key: NewKey, max_unfinished: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(IS_REFUSED, {**vars(new_key), "max_unfinished": max_unfinished})
        if cursor.fetchone()[0]:
            raise TooManyUnfinished(
                f"You have {max_unfinished} requests that are not finished, as many as one may "
                "have. Nothing was done now. Have those finish, by their own keys, and retry with "
                "the same Idempotency-Key.",
                retry_after_seconds=TOO_MANY_RETRY_AFTER_SECONDS,
            )


def take_over_key(key_id: int, *, impossible_lease: datetime | None = None) -> Claim | None:
    """Claim an unfinished key for a retry. Return None where another process holds its lease.

    Args:
        impossible_lease: that of the key as it was read.
    """
    claim, _ = _take_over(
        TAKE_OVER_KEY, event="retried", id=key_id, impossible_lease=impossible_lease
    )
    return claim


def take_over_next_due_key(position: Position | None = None) -> Claim | None:
    """Claim the key that the completer should run next. Return None where none is due.

    Args:
        position: where its batch is in the index, which it moves on.
    """
    position = position or Position()
    claim, was_due_at = _take_over(
        TAKE_OVER_NEXT_DUE_KEY,
        event="taken_by_completer",
        completer_attempts=1,
        begin_at=position.at,
    )
    if was_due_at:
        position.at = max(position.at, was_due_at)
    return claim and replace(claim, lease=replace(claim.lease, is_completers=True))


def reopen_key(
    key: IdempotencyKey,
    *,
    recovery_point: str,
    action: str,
    reviewer: str,
    reason: str,
    asks_anew: bool = False,
    begins_window: bool = False,
) -> Claim | None:
    """Claim a key of the review list, to go on from `recovery_point`.

    Return None where it is not, or no longer, as it was read.

    Args:
        asks_anew: whether the foreign phase's question is to be a new one.
        begins_window: whether that one is not sent yet, so that its window is still to begin.
    """
    claim, _ = _take_over(
        REOPEN_KEY,
        event="reviewed",
        id=key.pk,
        seen_token=key.lease_token,
        recovery_point=recovery_point,
        asks_anew=int(asks_anew),
        begins_window=begins_window,
        said={"action": action, "reviewer": reviewer, "reason": reason},
    )
    return claim


def end_lease(key: IdempotencyKey, *, reviewer: str, reason: str) -> bool:
    """End the lease of a key as it was read, in the caller's transaction; return whether it was
    still there.
    """
    values = {
        "id": key.pk,
        "seen_token": key.lease_token,
        "lease_token": uuid4(),
        "said": _said({"reviewer": reviewer, "reason": reason}),
        **growth_of_journal(1),
    }
    with connection.cursor() as cursor:
        cursor.execute(END_LEASE, values)
        return bool(cursor.rowcount)


def request_in_progress(*, retry_after_seconds: int) -> RequestInProgress:
    return RequestInProgress(
        "A request with this Idempotency-Key is being worked on. Retry with the same key later.",
        retry_after_seconds=retry_after_seconds,
    )


def take_over_next_overdue_key() -> Claim | None:
    """Claim an unfinished key that is overdue. Return None where there is none."""
    claim, _ = _take_over(
        TAKE_OVER_NEXT_OVERDUE_KEY, event="taken_by_reaper", retention=conf.current().retention
    )
    return claim


@repeated_on_conflict
def _take_over(
    statement: str,
    *,
    event: str,
    completer_attempts: int = 0,
    recovery_point: str | None = None,
    said: Mapping[str, str] = MappingProxyType({}),
    **which: Any,
) -> tuple[Claim | None, datetime | None]:
    """The claim, and since when the key was due where the statement chose it."""
    settings = conf.current()
    values: dict[str, Any] = {
        **which,
        "event": event,
        "recovery_point": recovery_point,
        "said": _said(said),
        "lease_token": uuid4(),
        "completer_attempts": completer_attempts,
        "clock_tolerance": settings.clock_tolerance,
        "lock_timeout": settings.lock_timeout,
        "completer_pause": settings.completer_pause,
        **growth_of_journal(1),
    }
    asked_at = lease_clock()
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
    if row is None:
        return None, None
    columns = len(_COLUMNS) + 1
    claim = _claim_from(row[:columns], asked_at, event)
    return claim, row[-1] if len(row) > columns else None


def _said(said: Mapping[str, str] = MappingProxyType({})) -> str:
    """What the claim's entry in the journal has besides, as JSON: whose request it is, too."""
    request_id = REQUEST_ID.get()
    return json.dumps({**said, "request_id": request_id} if request_id else dict(said))


def _claim_from(row: Sequence[Any], asked_at: float, event: str = "claimed") -> Claim:
    key = _key_from(row)
    return Claim(key, _lease_on(key, asked_at), event)


def _lease_on(key: IdempotencyKey, asked_at: float) -> Lease:
    return Lease(key.pk, key.lease_token, key.attempt, lease_end(asked_at))


def _key_from(row: Sequence[Any]) -> IdempotencyKey:
    values = dict(zip(["id", *_COLUMNS], row, strict=True))
    values["path_kwargs"] = json.loads(values["path_kwargs"])
    values["request_params"] = json.loads(values["request_params"])
    values["response_headers"] = json.loads(values["response_headers"] or "{}")
    return IdempotencyKey.from_db(connection.alias, list(values), list(values.values()))
