"""Stripe's test cards: what each is called, and what happens when it is charged.

Source: https://docs.stripe.com/testing (tokens `tok_…`, payment methods `pm_card_…`).
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any


class Behaviour(Enum):
    PAYS = auto()
    DECLINES = auto()
    NEEDS_AUTHENTICATION = auto()


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    last4: str
    behaviour: Behaviour


CARDS = {
    "visa": Card(last4="4242", behaviour=Behaviour.PAYS),
    "chargeCustomerFail": Card(last4="0341", behaviour=Behaviour.DECLINES),
    "threeDSecure2Required": Card(last4="3220", behaviour=Behaviour.NEEDS_AUTHENTICATION),
    "authenticationRequired": Card(last4="3184", behaviour=Behaviour.NEEDS_AUTHENTICATION),
}
_BEHAVIOUR_BY_LAST4 = {card.last4: card.behaviour for card in CARDS.values()}

_CHECKS = {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"}


def card_for(name: str, prefix: str) -> Card | None:
    """Return the card behind `tok_visa` (prefix `tok_`) or `pm_card_visa` (prefix `pm_card_`)."""
    return CARDS.get(name.removeprefix(prefix)) if name.startswith(prefix) else None


def behaviour_of(card: dict[str, Any]) -> Behaviour:
    return _BEHAVIOUR_BY_LAST4[card["last4"]]


def card_fields(card: Card) -> dict[str, Any]:
    """Return the `card` of a payment method, and of a charge's `payment_method_details`."""
    return {
        "brand": "visa",
        "checks": _CHECKS,
        "country": "US",
        "exp_month": 12,
        "exp_year": 2034,
        "fingerprint": f"standin{card.last4}",
        "funding": "credit",
        "last4": card.last4,
        "three_d_secure": None,
        "wallet": None,
    }
