"""Faults on demand: which calls fail, how, and how often they did.

A fault stays until it has fired as often as it may, or until it is cleared; it can be narrowed to a
method and path, to one idempotency key, and to a share of the calls. The service asks at three
moments (arrival, execution, answer), because a replay has no execution to spoil; and before it
sends an event, whose type is the path then.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

MAX_SECONDS = 3_600.0


class FaultKind(StrEnum):
    CONFLICT = "conflict"  # 409, not executed
    RATE_LIMIT = "rate_limit"  # 429 with Retry-After, not executed
    RESET_BEFORE = "reset_before"  # TCP reset, not executed
    LATENCY = "latency"  # waits, then executes; the key is in use meanwhile
    ERROR_BEFORE = "error_before"  # 500 saved under the key, not executed
    ERROR_AFTER = "error_after"  # executed, then 500 saved under the key
    DECLINE = "decline"  # the charge of this call is declined
    PROCESSING = "processing"  # the payment of this call is under way until it is settled
    REFUND_PENDING = "refund_pending"  # the refund of this call is under way until it is settled
    STALL = "stall"  # executed and saved, the answer is held back
    RESET_AFTER = "reset_after"  # executed and saved, then a TCP reset
    MALFORMED_JSON = "malformed_json"  # executed and saved, half of the body is sent
    KEY_PRUNED = "key_pruned"  # answered, then the key is removed
    HOSTILE_REFUSAL = "hostile_refusal"  # 400 in hostile words, not executed
    CUSTOMER_MISSING = "customer_missing"  # 400 to a customer's list, as if there were none
    HOSTILE_DECLINE = "hostile_decline"  # the charge of this call is declined, in such words
    EVENT_LATE = "event_late"  # sent so many seconds later
    EVENT_TWICE = "event_twice"  # sent two times at once
    EVENT_OUT_OF_ORDER = "event_out_of_order"  # sent after a later one, or after so many seconds
    EVENT_NEVER = "event_never"  # not sent
    EVENT_FORGED = "event_forged"  # signed with another's secret, the first time


ON_ARRIVAL = (
    FaultKind.CONFLICT,
    FaultKind.RATE_LIMIT,
    FaultKind.RESET_BEFORE,
    FaultKind.HOSTILE_REFUSAL,
    FaultKind.CUSTOMER_MISSING,
)
ON_EXECUTION = (
    FaultKind.LATENCY,
    FaultKind.ERROR_BEFORE,
    FaultKind.ERROR_AFTER,
    FaultKind.DECLINE,
    FaultKind.HOSTILE_DECLINE,
    FaultKind.PROCESSING,
    FaultKind.REFUND_PENDING,
)
DECLINES = (FaultKind.DECLINE, FaultKind.HOSTILE_DECLINE)
ON_ANSWER = (
    FaultKind.STALL,
    FaultKind.RESET_AFTER,
    FaultKind.MALFORMED_JSON,
    FaultKind.KEY_PRUNED,
)
ON_EVENT = (
    FaultKind.EVENT_LATE,
    FaultKind.EVENT_TWICE,
    FaultKind.EVENT_OUT_OF_ORDER,
    FaultKind.EVENT_NEVER,
    FaultKind.EVENT_FORGED,
)

# Only these can be declined or take their time, so a wider fault would be used up by other calls.
CHARGING_CALLS = "POST /v1/payment_intents"
REFUNDING_CALLS = "POST /v1/refunds"


# What a proxy, a bank or an attacker may have written: a NUL, what clears a terminal, what turns a
# line around, half of a surrogate pair, and a megabyte.
HOSTILE_WORDS = "\x00 \x1b[2J \u202e \ud800 " + "x" * 1_000_000


class InvalidFault(Exception):
    """A fault that could never fire, or not as meant; the message says what is wrong."""


@dataclass(kw_only=True)
class Fault:
    """One fault and whom it hits.

    `times`: fire for the next N calls (None: until cleared). `share`: of the calls, 0 to 1, drawn
    from `seed`. `seconds`: of latency, stall, or `Retry-After`. `path`: a prefix such as
    `/v1/refunds`, with a method in front or without; of an event, of its type.
    """

    kind: FaultKind
    times: int | None = None
    share: float | None = None
    seed: int = 0
    seconds: float = 1.0
    path: str | None = None
    idempotency_key: str | None = None
    fired: int = 0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Repeatable from a seed, and nothing secret.
        self._random = random.Random(self.seed)  # noqa: S311
        if self.kind in (*DECLINES, FaultKind.PROCESSING) and self.path is None:
            self.path = CHARGING_CALLS
        if self.kind is FaultKind.REFUND_PENDING and self.path is None:
            self.path = REFUNDING_CALLS

    @property
    def is_spent(self) -> bool:
        return self.times is not None and self.fired >= self.times

    def hits(self, method: str, path: str, idempotency_key: str | None) -> bool:
        if self.is_spent:
            return False
        if self.path is not None and not _matches(self.path, method, path):
            return False
        if self.idempotency_key not in (None, idempotency_key):
            return False
        return self.share is None or self._random.random() < self.share

    def described(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self) if each.init}


class Faults:
    """The faults in force, in the order in which they were added."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, given: dict[str, Any]) -> Fault:
        """Raises `InvalidFault` for a kind or a value that cannot be."""
        fault = _read_fault(given)
        self._faults.append(fault)
        return fault

    def fire(
        self, kinds: Iterable[FaultKind], method: str, path: str, idempotency_key: str | None
    ) -> dict[FaultKind, Fault]:
        """Return the faults that hit this call, counted as fired; one of a kind at most."""
        fired: dict[FaultKind, Fault] = {}
        for fault in self._faults:
            if fault.kind not in kinds or fault.kind in fired:
                continue
            if fault.hits(method, path, idempotency_key):
                fault.fired += 1
                fired[fault.kind] = fault
        return fired

    def described(self) -> list[dict[str, Any]]:
        return [fault.described() for fault in self._faults]

    def clear(self) -> None:
        self._faults.clear()


def _matches(pattern: str, method: str, path: str) -> bool:
    wanted_method, separator, prefix = pattern.rpartition(" ")
    return path.startswith(prefix) and (not separator or wanted_method == method)


def _read_fault(given: dict[str, Any]) -> Fault:
    kinds = [kind.value for kind in FaultKind]
    if given.get("kind") not in kinds:
        raise InvalidFault(f"kind: must be one of {', '.join(kinds)}")
    known = {"kind", "times", "share", "seed", "seconds", "path", "idempotency_key"}
    if unknown := sorted(given.keys() - known):
        raise InvalidFault(f"{unknown[0]}: unknown")
    _require_number(given, "times", 1, 1_000_000_000)
    _require_number(given, "share", 0, 1)
    _require_number(given, "seconds", 0, MAX_SECONDS)
    for name in ("path", "idempotency_key"):
        if not isinstance(given.get(name), str | None):
            raise InvalidFault(f"{name}: must be a string")
    return Fault(**given | {"kind": FaultKind(given["kind"])})


def _require_number(given: dict[str, Any], name: str, lowest: float, highest: float) -> None:
    value = given.get(name)
    if value is None:
        return
    if not isinstance(value, int | float) or not lowest <= value <= highest:
        raise InvalidFault(f"{name}: must be a number from {lowest:g} to {highest:g}")
