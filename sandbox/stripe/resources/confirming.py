"""Confirming a payment intent: which payment method pays, and what becomes of the attempt.

Apart from the intents' life cycle because this is where money moves: one charge for each attempt,
and Stripe's card errors with the intent inside them.
Source: https://docs.stripe.com/api/payment_intents/confirm and
https://docs.stripe.com/declines/codes
"""

from typing import Any

from sandbox.stripe.calls import Call
from sandbox.stripe.cards import Behaviour, behaviour_of
from sandbox.stripe.errors import DOCS, Failed, invalid
from sandbox.stripe.ledger import Resource
from sandbox.stripe.resources.charges import failed_charge, succeeded_charge
from sandbox.stripe.resources.payment_methods import find_or_make
from sandbox.stripe.shapes import present


def named_payment_method(call: Call, intent: Resource) -> Resource | None:
    """Return the payment method that the call names, not yet in the ledger if it is a test card.

    Raises:
        Refused: there is none of that id, or it belongs to another customer than the intent.
    """
    name = call.parameters.text("payment_method")
    if name is None:
        return None
    payment_method = find_or_make(call.ledger, name, "payment_method")
    if payment_method["customer"] not in (None, intent["customer"]):
        raise invalid(
            f"The provided PaymentMethod ({name}) belongs to a customer. To use it, you must "
            "provide that customer as the `customer` of this PaymentIntent.",
            param="payment_method",
        )
    return payment_method


def default_source(call: Call, intent: Resource) -> Resource | None:
    """Return the customer's `default_source`, which `confirm=true` at creation falls back to.

    The default of `invoice_settings` is for invoices alone: Stripe's page on `payment_method` of
    a new intent names only the source.
    """
    if intent["customer"] is None:
        return None
    customer = call.ledger.get("customer", intent["customer"])
    if customer["default_source"] is None:
        return None
    return call.ledger.get("payment_method", customer["default_source"])


def confirm_intent(
    call: Call, intent: Resource, payment_method: Resource | None, *, off_session: bool
) -> Resource:
    """Charge the payment method and return the intent as it then is.

    Raises:
        Refused: there is no payment method to charge.
        Failed: the card was declined, or needs its holder while the payment is off session.
    """
    if payment_method is None:
        raise invalid(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can "
            "either update the PaymentIntent with a payment method and then confirm it again, or "
            "confirm it again directly with a payment method or ConfirmationToken.",
            code="payment_intent_unexpected_state",
        )
    call.ledger.put(payment_method)
    behaviour = Behaviour.DECLINES if call.must_decline else behaviour_of(payment_method["card"])
    if behaviour is Behaviour.DECLINES:
        return _fail(call, intent, payment_method, _declined())
    if behaviour is Behaviour.NEEDS_AUTHENTICATION and off_session:
        return _fail(call, intent, payment_method, _authentication_required())
    if behaviour is Behaviour.NEEDS_AUTHENTICATION:
        return _ask_for_authentication(call, intent, payment_method)
    return _succeed(call, intent, payment_method)


def _succeed(call: Call, intent: Resource, payment_method: Resource) -> Resource:
    charge = succeeded_charge(intent, payment_method)
    paid = intent | {
        "amount_received": intent["amount"],
        "last_payment_error": None,
        "latest_charge": charge["id"],
        "next_action": None,
        "payment_method": payment_method["id"],
        "status": "succeeded",
    }
    call.ledger.put(charge)
    call.ledger.put(paid)
    return paid


def _fail(
    call: Call, intent: Resource, payment_method: Resource, error: dict[str, Any]
) -> Resource:
    charge = failed_charge(intent, payment_method, error)
    error |= {"charge": charge["id"], "payment_method": present(payment_method)}
    unpaid = intent | {
        "last_payment_error": error,
        "latest_charge": charge["id"],
        "next_action": None,
        "payment_method": None,
        "status": "requires_payment_method",
    }
    call.ledger.put(charge)
    call.ledger.put(unpaid)
    failure = Failed(402, error["type"], error["message"])
    failure.error = error | {"payment_intent": present(unpaid)}
    raise failure


def _ask_for_authentication(call: Call, intent: Resource, payment_method: Resource) -> Resource:
    waiting = intent | {
        "next_action": {"type": "use_stripe_sdk", "use_stripe_sdk": {}},
        "payment_method": payment_method["id"],
        "status": "requires_action",
    }
    call.ledger.put(waiting)
    return waiting


def _declined() -> dict[str, Any]:
    return {
        "code": "card_declined",
        "decline_code": "generic_decline",
        "doc_url": DOCS + "card-declined",
        "message": "Your card was declined.",
        "type": "card_error",
    }


def _authentication_required() -> dict[str, Any]:
    return {
        "code": "authentication_required",
        "decline_code": "authentication_required",
        "doc_url": DOCS + "authentication-required",
        "message": "Your card was declined. This transaction requires authentication.",
        "type": "card_error",
    }
