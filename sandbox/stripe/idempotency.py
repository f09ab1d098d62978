"""Stripe's idempotency layer: which answer belongs to which key.

The first status and body are saved once an endpoint began to execute, and given again to the same
request; another request under the same key, or the same one while the first still runs, is refused.
Source: https://docs.stripe.com/api/idempotent_requests
"""

import sqlite3
from dataclasses import dataclass

from sandbox.stripe.clock import CLOCK
from sandbox.stripe.errors import Refused, invalid, key_in_use

MAX_KEY_LENGTH = 255
RETENTION_SECONDS = 24 * 3_600.0
LOOK_EVERY_ANSWERS = 1_000  # and remove those that are older

Scope = tuple[str, str]  # (account, idempotency key)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyedRequest:
    """What identifies a request to the idempotency layer."""

    account: str
    key: str
    path: str
    fingerprint: str

    @property
    def scope(self) -> Scope:
        return self.account, self.key


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedAnswer:
    """The first answer to a key: status, body and the request that it belongs to."""

    account: str
    key: str
    path: str
    fingerprint: str
    status: int
    body: str
    request_id: str
    created: float  # Unix seconds


FIND_ANSWER = """
SELECT account, key, path, fingerprint, status, body, request_id, created
  FROM answer
 WHERE account = ? AND key = ? AND created > ?
"""

SAVE_ANSWER = """
INSERT OR REPLACE INTO answer
       (account, key, path, fingerprint, status, body, request_id, created)
VALUES (:account, :key, :path, :fingerprint, :status, :body, :request_id, :created)
"""


class IdempotencyKeys:
    """The saved answers, and the keys whose first request is still running."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self._store = store
        self._running: dict[Scope, KeyedRequest] = {}
        self._saved = 0

    def claim(self, request: KeyedRequest) -> SavedAnswer | None:
        """Return the saved answer, or nothing and the key is taken until `release`.

        Raises:
            Refused: the key belongs to another request, or its first request is still running.
        """
        if len(request.key) > MAX_KEY_LENGTH:
            raise invalid(f"Idempotency keys can have up to {MAX_KEY_LENGTH} characters.")
        first = self._find(request.scope) or self._running.get(request.scope)
        if first is None:
            self._running[request.scope] = request
            return None
        _require_same_request(first, request)
        if isinstance(first, SavedAnswer):
            return first
        raise key_in_use(request.key)

    def release(self, request: KeyedRequest) -> None:
        self._running.pop(request.scope, None)

    def save(self, answer: SavedAnswer) -> None:
        """Save the answer in the transaction of what the call changed."""
        self._store.execute(
            SAVE_ANSWER, {name: getattr(answer, name) for name in SavedAnswer.__slots__}
        )
        self._saved += 1
        if self._saved % LOOK_EVERY_ANSWERS == 0:
            self._delete_before(CLOCK.now() - RETENTION_SECONDS)

    def forget(self, request: KeyedRequest) -> None:
        """Prune one key, whatever its age."""
        self._store.execute("DELETE FROM answer WHERE account = ? AND key = ?", request.scope)
        self._store.commit()

    def age(self, seconds: float) -> None:
        """Have every answer have been given so many seconds earlier."""
        self._store.execute("UPDATE answer SET created = created - ?", (seconds,))
        self._store.commit()

    def prune(self, older_than_seconds: float) -> int:
        """Remove every answer older than that; return how many."""
        count = self._delete_before(CLOCK.now() - older_than_seconds)
        self._store.commit()
        return count

    def clear(self) -> None:
        self._store.execute("DELETE FROM answer")
        self._store.commit()

    def _find(self, scope: Scope) -> SavedAnswer | None:
        found = self._store.execute(FIND_ANSWER, (*scope, CLOCK.now() - RETENTION_SECONDS))
        row = found.fetchone()
        return SavedAnswer(**dict(zip(SavedAnswer.__slots__, row, strict=True))) if row else None

    def _delete_before(self, moment: float) -> int:
        return self._store.execute("DELETE FROM answer WHERE created <= ?", (moment,)).rowcount


def _require_same_request(first: SavedAnswer | KeyedRequest, request: KeyedRequest) -> None:
    if first.path != request.path:
        use = f"for the same endpoint they were first used for ('{request.path}' vs '{first.path}')"
    elif first.fingerprint != request.fingerprint:
        use = "with the same parameters they were first used with"
    else:
        return
    raise Refused(
        400,
        "idempotency_error",
        f"Keys for idempotent requests can only be used {use}. Try using a key other than "
        f"'{request.key}' if you meant to execute a different request.",
    )
