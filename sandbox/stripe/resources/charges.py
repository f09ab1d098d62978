"""Charges: one for each attempt of a payment intent to take money, whether it succeeded or not.

Source: https://docs.stripe.com/api/charges
"""

from typing import Any

from sandbox.stripe.calls import Call, Endpoint
from sandbox.stripe.clock import CLOCK
from sandbox.stripe.ledger import Resource, new_id
from sandbox.stripe.lists import PAGING, list_page

_PAID = {
    "network_status": "approved_by_network",
    "reason": None,
    "risk_level": "normal",
    "seller_message": "Payment complete.",
    "type": "authorized",
}


def succeeded_charge(intent: Resource, payment_method: Resource) -> Resource:
    return _charge(intent, payment_method) | {
        "amount_captured": intent["amount"],
        "captured": True,
        "outcome": _PAID,
        "paid": True,
        "status": "succeeded",
    }


def pending_charge(intent: Resource, payment_method: Resource) -> Resource:
    """Of a bank debit: made with the attempt, and the same one once the bank has decided."""
    return _charge(intent, payment_method) | {"status": "pending"}


def failed_charge(intent: Resource, payment_method: Resource, error: dict[str, Any]) -> Resource:
    """`error` is Stripe's error object; the charge repeats its code and message."""
    return _charge(intent, payment_method) | {
        "failure_code": error["code"],
        "failure_message": error["message"],
        "outcome": {
            "network_status": "declined_by_network",
            "reason": error["decline_code"],
            "risk_level": "normal",
            "seller_message": "The bank did not return any further details with this decline.",
            "type": "issuer_declined",
        },
        "status": "failed",
    }


def _charge(intent: Resource, payment_method: Resource) -> Resource:
    return {
        "id": new_id("ch"),
        "object": "charge",
        "amount": intent["amount"],
        "created": int(CLOCK.now()),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "metadata": intent["metadata"],
        "payment_intent": intent["id"],
        "payment_method": payment_method["id"],
        "payment_method_details": {"card": payment_method["card"], "type": "card"},
    }


def _retrieve(call: Call) -> Resource:
    call.parameters.allow("expand")
    return call.ledger.get("charge", call.object_id)


def _list(call: Call) -> Resource:
    call.parameters.allow("customer", "payment_intent", *PAGING)
    return list_page(
        call,
        "charge",
        customer=call.parameters.text("customer"),
        payment_intent=call.parameters.text("payment_intent"),
    )


ENDPOINTS: dict[str, Endpoint] = {
    "GET /v1/charges": _list,
    "GET /v1/charges/{id}": _retrieve,
}
