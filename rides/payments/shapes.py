"""The shape that an object of Stripe's must have to be used, and to be stored.

Whatever has a part of another shape is not what was asked for, and a person must decide: it is
neither an error of ours nor an id of anything.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self, TypeGuard

from idempotency.exceptions import NeedsReview
from rides.payments.statuses import CHARGES, Outcome

ID = re.compile(r"[a-z]+_[A-Za-z0-9_]{1,240}")
SECRET = re.compile(r"[A-Za-z0-9_]{1,300}")
PLAIN = re.compile(r"[!-~]{1,2000}")
LATEST = 1 << 37  # in Unix seconds, which is the year 6325
MOST_SHOWN = 200  # characters of a value that was not expected


@dataclass(frozen=True, kw_only=True, slots=True)
class Payment:
    """A payment intent, in minor units of `currency`. What was refunded is known only of one that
    was read with its charge.
    """

    id: str
    status: str
    amount_cents: int
    amount_received_cents: int
    refunded_cents: int
    currency: str
    customer_id: str | None
    charge_id: str | None
    is_disputed: bool
    failure: str | None
    metadata: dict[str, Any]
    client_secret: str | None
    next_action: dict[str, str]
    """Of what the rider is to do: its `type`, and the `url` of the page, where there is one."""

    @classmethod
    def of(cls, intent: dict[str, Any]) -> Self:
        """Raises: NeedsReview."""
        charge: Any = intent.get("latest_charge")
        failure: Any = intent.get("last_payment_error") or {}
        expanded = {"id": charge, "amount_refunded": 0, "disputed": False}
        if isinstance(charge, dict):
            expanded = charge
        message = failure.get("message") if isinstance(failure, dict) else failure
        payment = cls(
            id=intent.get("id", ""),
            status=intent.get("status", ""),
            amount_cents=intent.get("amount", ""),
            amount_received_cents=intent.get("amount_received", 0),
            refunded_cents=expanded.get("amount_refunded", ""),
            currency=intent.get("currency", ""),
            customer_id=intent.get("customer"),
            charge_id=expanded.get("id", ""),
            is_disputed=expanded.get("disputed") is not False,
            failure=message,
            metadata=intent.get("metadata") or {},
            client_secret=_secret(intent.get("client_secret")),
            next_action=_next_action(intent.get("next_action")),
        )
        fits = (
            is_id(payment.id)
            and isinstance(payment.status, str)
            and is_amount(payment.amount_cents)
            and is_amount(payment.amount_received_cents)
            and (payment.customer_id is None or is_id(payment.customer_id))
            and is_amount(payment.refunded_cents)
            and isinstance(payment.currency, str)
            and (charge is None or is_id(payment.charge_id))
            and isinstance(failure, dict)
            and isinstance(message, str | None)
            and isinstance(payment.metadata, dict)
        )
        if not fits:
            raise not_asked_for(intent)
        return payment


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerCharge:
    """A charge, in minor units of `currency`, and what its metadata says of where it belongs."""

    id: str
    status: str
    amount_cents: int
    refunded_cents: int
    currency: str
    is_disputed: bool
    created_at: datetime
    customer_id: str | None
    payment_intent_id: str | None
    metadata: dict[str, Any]

    @property
    def outcome(self) -> Outcome | None:
        """What became of it; None for a status that Stripe does not document."""
        return CHARGES.get(self.status)

    @property
    def is_refunded(self) -> bool:
        return self.refunded_cents >= self.amount_cents

    @property
    def foreign_key(self) -> str | None:
        return self.metadata.get("foreign_key")

    @classmethod
    def of(cls, charge: dict[str, Any]) -> Self:
        """Raises: NeedsReview."""
        created: Any = charge.get("created")
        fits = (
            is_id(charge.get("id"))
            and isinstance(charge.get("status"), str)
            and is_amount(charge.get("amount_captured"))
            and is_amount(charge.get("amount_refunded", 0))
            and isinstance(charge.get("currency"), str)
            and is_amount(created)
            and created < LATEST
            and all(
                charge.get(name) is None or is_id(charge[name])
                for name in ("customer", "payment_intent")
            )
            and isinstance(charge.get("metadata") or {}, dict)
        )
        if not fits:
            raise unexpected("A charge is not what was asked for.", charge=charge.get("id"))
        return cls(
            id=charge["id"],
            status=charge["status"],
            amount_cents=charge["amount_captured"],
            refunded_cents=charge.get("amount_refunded", 0),
            currency=charge["currency"],
            is_disputed=charge.get("disputed") is not False,
            created_at=datetime.fromtimestamp(charge["created"], UTC),
            customer_id=charge.get("customer"),
            payment_intent_id=charge.get("payment_intent"),
            metadata=charge.get("metadata") or {},
        )


def _secret(value: Any) -> str | None:
    return value if isinstance(value, str) and SECRET.fullmatch(value) else None


def _next_action(value: Any) -> dict[str, str]:
    """As much as a client needs beside the secret, which Stripe's own script goes by."""
    action = value if isinstance(value, dict) else {}
    redirect = action.get("redirect_to_url")
    url = redirect.get("url") if isinstance(redirect, dict) else None
    named = {"type": action.get("type"), "url": url}
    return {name: text for name, text in named.items() if _is_plain_text(text)}


def _is_plain_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and PLAIN.fullmatch(value) is not None


def is_id(value: Any) -> bool:
    return isinstance(value, str) and ID.fullmatch(value) is not None


def is_amount(value: Any) -> bool:
    """Say whether it is a number that money, or a time in seconds, can have."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40


def not_asked_for(intent: dict[str, Any]) -> NeedsReview:
    return unexpected(
        "The payment is not what was asked for.",
        payment_intent=intent.get("id"),
        status=intent.get("status"),
        amount_received=intent.get("amount_received"),
        currency=intent.get("currency"),
    )


def unexpected(message: str, **found: Any) -> NeedsReview:
    return NeedsReview(message, evidence={name: _shown(value) for name, value in found.items()})


def _shown(value: Any) -> Any:
    """As it is, where it is a plain one; else as Python writes it, cut off."""
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, str) and value.isprintable() and len(value) <= MOST_SHOWN:
        return value
    return repr(value)[:MOST_SHOWN]
