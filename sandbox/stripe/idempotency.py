"""Stripe's idempotency layer: which answer belongs to which key.

The first status and body are saved once an endpoint began to execute, and given again to the same
request; another request under the same key, or the same one while the first still runs, is refused.
Source: https://docs.stripe.com/api/idempotent_requests
"""

import time
from dataclasses import dataclass

from sandbox.stripe.errors import Refused, invalid, key_in_use
from sandbox.stripe.journal import Entry, Journal

MAX_KEY_LENGTH = 255
RETENTION_SECONDS = 24 * 3_600.0

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


class IdempotencyKeys:
    """The saved answers, and the keys whose first request is still running."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._saved: dict[Scope, SavedAnswer] = {}
        self._running: dict[Scope, KeyedRequest] = {}

    def claim(self, request: KeyedRequest) -> SavedAnswer | None:
        """The saved answer, or nothing and the key is taken until `release`.

        Raises:
            Refused: the key belongs to another request, or its first request is still running.
        """
        if len(request.key) > MAX_KEY_LENGTH:
            raise invalid(f"Idempotency keys can have up to {MAX_KEY_LENGTH} characters.")
        self._drop_expired()
        first = self._saved.get(request.scope) or self._running.get(request.scope)
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
        self._saved[answer.account, answer.key] = answer

    def forget(self, request: KeyedRequest) -> None:
        """Prune one key, whatever its age."""
        self._saved.pop(request.scope, None)
        self._journal.append({"forgotten": list(request.scope)})

    def prune(self, older_than_seconds: float) -> int:
        """Forget every answer older than that; returns how many."""
        before = time.time() - older_than_seconds
        count = self._prune_before(before)
        self._journal.append({"pruned_before": before})
        return count

    def absorb(self, entry: Entry) -> None:
        """Replay one entry of the journal."""
        if answer := entry.get("answer"):
            self.save(SavedAnswer(**answer))
        if forgotten := entry.get("forgotten"):
            self._saved.pop((forgotten[0], forgotten[1]), None)
        if before := entry.get("pruned_before"):
            self._prune_before(before)

    def clear(self) -> None:
        self._saved.clear()

    def _prune_before(self, before: float) -> int:
        old = [scope for scope, answer in self._saved.items() if answer.created <= before]
        for scope in old:
            del self._saved[scope]
        return len(old)

    def _drop_expired(self) -> None:
        before = time.time() - RETENTION_SECONDS
        while self._saved:
            oldest = next(iter(self._saved))
            if self._saved[oldest].created > before:
                return
            del self._saved[oldest]


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
