"""What Stripe tells of its own accord: events, each signed over the very bytes of its body.

Nothing that an event claims is believed but its ids: which object it is about, and whose that is.
Stripe is asked for the rest.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import stripe

from idempotency.exceptions import IdempotencyError
from idempotency.foreign_keys import installation_mark
from rides.payments.shapes import is_id

TOLERANCE_SECONDS = 300
"""How old a signature may be: an event that somebody has recorded is refused after that. Stripe
signs each sending anew (its docs, "Preventing replay attacks")."""

LONGEST_TYPE = 255


class EventRefused(IdempotencyError):
    """Not signed by Stripe with a secret of ours, or not lately; or no event at all."""

    status, code = 400, "event_refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """An event, and the object that it is about, which has no id of its own in some."""

    id: str
    type: str
    object_kind: str | None
    object_id: str | None
    metadata: dict[str, Any]

    @property
    def is_anothers(self) -> bool:
        """Whether the object bears the mark of another installation, such as another cell's."""
        mark = self.metadata.get("installation")
        return mark is not None and mark != installation_mark()

    @property
    def foreign_key(self) -> UUID | None:
        """What the request is known by that the object bears; None where it is not of ours."""
        if self.metadata.get("installation") != installation_mark():
            return None
        try:
            return UUID(self.metadata.get("foreign_key"))
        except (AttributeError, TypeError, ValueError):
            return None


def read_event(body: bytes, signature: str, secrets: Sequence[str]) -> Event:
    """Return the event in the body of a request.

    Args:
        body: the bytes as they came. Read and written again they are others.
        signature: the header `Stripe-Signature`.
        secrets: those of the endpoint, of which one must have signed it; two in a rotation.

    Raises: `EventRefused`.
    """
    if not any(_is_signed(body, signature, secret) for secret in secrets):
        raise EventRefused(
            "This is not signed by Stripe with a secret of ours, or was so more than "
            f"{TOLERANCE_SECONDS} s ago. Nothing was done."
        )
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise EventRefused("The body is not JSON. Nothing was done.") from None
    event = told if isinstance(told, dict) else {}
    type_: Any = event.get("type")
    if not (is_id(event.get("id")) and isinstance(type_, str) and _is_plain(type_)):
        raise EventRefused("The body is no event of Stripe's. Nothing was done.")
    data: Any = event.get("data")
    shown: Any = data.get("object") if isinstance(data, dict) else None
    about = shown if isinstance(shown, dict) else {}
    metadata: Any = about.get("metadata")
    return Event(
        id=event["id"],
        type=type_,
        object_kind=about["object"] if isinstance(about.get("object"), str) else None,
        object_id=about["id"] if is_id(about.get("id")) else None,
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def _is_signed(body: bytes, signature: str, secret: str) -> bool:
    # Of a text that is not ASCII Stripe's library makes errors of its own, in comparing.
    if not signature.isascii():
        return False
    try:
        stripe.WebhookSignature.verify_header(body, signature, secret, TOLERANCE_SECONDS)
    except (stripe.SignatureVerificationError, UnicodeDecodeError):
        return False
    return True


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and len(text) <= LONGEST_TYPE
