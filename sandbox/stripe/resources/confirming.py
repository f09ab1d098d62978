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
from sandbox.stripe.ledger import Ledger, Resource
from sandbox.stripe.resources.charges import failed_charge, pending_charge, succeeded_charge
from sandbox.stripe.resources.payment_methods import find_or_make
from sandbox.stripe.shapes import present

BANK_PAGE = "/_sandbox/bank/"
"""Where the stand-in plays the bank's page; the intent's id follows."""


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
    call: Call,
    intent: Resource,
    payment_method: Resource | None,
    *,
    off_session: bool,
    return_url: str | None,
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
        raise _card_error(refused(call.ledger, intent, payment_method, _declined()))
    if behaviour is Behaviour.NEEDS_AUTHENTICATION and off_session:
        error = _authentication_required()
        raise _card_error(refused(call.ledger, intent, payment_method, error))
    if behaviour is Behaviour.NEEDS_AUTHENTICATION:
        return _ask_for_authentication(call, intent, payment_method, return_url)
    if call.must_process:
        return _processing(call.ledger, intent, payment_method)
    return paid(call.ledger, intent, payment_method)


def settle(ledger: Ledger, intent: Resource, *, succeeds: bool) -> Resource:
    """End what is under way: the bank, or the rider at the bank's page, has decided."""
    payment_method = ledger.get("payment_method", intent["payment_method"])
    if succeeds:
        return paid(ledger, intent, payment_method)
    is_debit = intent["status"] == "processing"
    error = _declined() if is_debit else _authentication_failed()
    return refused(ledger, intent, payment_method, error)


def paid(ledger: Ledger, intent: Resource, payment_method: Resource) -> Resource:
    charge = succeeded_charge(intent, payment_method) | _begun_as(ledger, intent)
    paid = intent | {
        "amount_received": intent["amount"],
        "last_payment_error": None,
        "latest_charge": charge["id"],
        "next_action": None,
        "payment_method": payment_method["id"],
        "status": "succeeded",
    }
    ledger.put(charge)
    ledger.put(paid)
    return paid


def refused(
    ledger: Ledger, intent: Resource, payment_method: Resource, error: dict[str, Any]
) -> Resource:
    charge = failed_charge(intent, payment_method, error) | _begun_as(ledger, intent)
    error |= {"charge": charge["id"], "payment_method": present(payment_method)}
    unpaid = intent | {
        "last_payment_error": error,
        "latest_charge": charge["id"],
        "next_action": None,
        "payment_method": None,
        "status": "requires_payment_method",
    }
    ledger.put(charge)
    ledger.put(unpaid)
    return unpaid


def _card_error(unpaid: Resource) -> Failed:
    error = unpaid["last_payment_error"]
    failure = Failed(402, error["type"], error["message"])
    failure.error = error | {"payment_intent": present(unpaid)}
    return failure


def _processing(ledger: Ledger, intent: Resource, payment_method: Resource) -> Resource:
    """As a bank debit, which takes days: its charge is there, and pending, from the beginning."""
    charge = pending_charge(intent, payment_method)
    waiting = intent | {
        "latest_charge": charge["id"],
        "payment_method": payment_method["id"],
        "status": "processing",
    }
    ledger.put(charge)
    ledger.put(waiting)
    return waiting


def _begun_as(ledger: Ledger, intent: Resource) -> Resource:
    """Return what a charge that was pending keeps when it ends."""
    if intent["status"] != "processing" or intent["latest_charge"] is None:
        return {}
    charge = ledger.get("charge", intent["latest_charge"])
    return {"id": charge["id"], "created": charge["created"]}


def _ask_for_authentication(
    call: Call, intent: Resource, payment_method: Resource, return_url: str | None
) -> Resource:
    """By the bank's page where there is a page to come back to, or else by Stripe's script."""
    next_action: dict[str, Any] = {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
    if return_url:
        page = f"http://{call.host}{BANK_PAGE}{intent['id']}"
        next_action = {
            "type": "redirect_to_url",
            "redirect_to_url": {"return_url": return_url, "url": page},
        }
    waiting = intent | {
        "next_action": next_action,
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


def _authentication_failed() -> dict[str, Any]:
    return {
        "code": "payment_intent_authentication_failure",
        "decline_code": None,
        "doc_url": DOCS + "payment-intent-authentication-failure",
        "message": "We are unable to authenticate your payment method. Please choose a different "
        "payment method and try again.",
        "type": "invalid_request_error",
    }


def _authentication_required() -> dict[str, Any]:
    return {
        "code": "authentication_required",
        "decline_code": "authentication_required",
        "doc_url": DOCS + "authentication-required",
        "message": "Your card was declined. This transaction requires authentication.",
        "type": "card_error",
    }
