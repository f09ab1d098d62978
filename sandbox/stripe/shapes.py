"""How an object of the ledger looks on the wire: all of Stripe's fields, and `expand`.

The ledger keeps only the fields that the stand-in fills; the others, always the same, are added
here on the way out, so that a million charges take little room.
Source: the objects' pages under https://docs.stripe.com/api and
https://docs.stripe.com/api/expanding_objects
"""

from typing import Any

from sandbox.stripe.errors import invalid
from sandbox.stripe.ledger import Ledger, Resource

MAX_EXPAND_DEPTH = 4
EXPANDABLE = {
    "charge",
    "customer",
    "data",
    "default_payment_method",
    "default_source",
    "invoice_settings",
    "latest_charge",
    "payment_intent",
    "payment_method",
}

Paths = list[list[str]]

_NO_ADDRESS = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
_BILLING_DETAILS = {"address": _NO_ADDRESS} | dict.fromkeys(("email", "name", "phone", "tax_id"))

SHAPES: dict[str, dict[str, Any]] = {
    "account": {
        "id": None,
        "object": "account",
        "business_type": None,
        "charges_enabled": True,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": True,
        "email": None,
        "payouts_enabled": True,
        "type": "standard",
    },
    "customer": {
        "id": None,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": None,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "email": None,
        "livemode": False,
        "metadata": {},
        "name": None,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    },
    "payment_method": {
        "id": None,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": _BILLING_DETAILS,
        "created": None,
        "customer": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
    },
    "payment_intent": {
        "id": None,
        "object": "payment_intent",
        "amount": None,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": None,
        "confirmation_method": "automatic",
        "created": None,
        "currency": None,
        "customer": None,
        "description": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": None,
        "transfer_data": None,
        "transfer_group": None,
    },
    "charge": {
        "id": None,
        "object": "charge",
        "amount": None,
        "amount_captured": 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": _BILLING_DETAILS,
        "captured": False,
        "created": None,
        "currency": None,
        "customer": None,
        "description": None,
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": False,
        "metadata": {},
        "on_behalf_of": None,
        "outcome": None,
        "paid": False,
        "payment_intent": None,
        "payment_method": None,
        "payment_method_details": None,
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "review": None,
        "shipping": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": None,
        "transfer_data": None,
        "transfer_group": None,
    },
    "dispute": {
        "id": None,
        "object": "dispute",
        "amount": None,
        "balance_transactions": [],
        "charge": None,
        "created": None,
        "currency": None,
        "enhanced_eligibility_types": [],
        "evidence": {},
        "evidence_details": {},
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "network_reason_code": None,
        "payment_intent": None,
        "payment_method_details": None,
        "reason": None,
        "status": None,
    },
    "refund": {
        "id": None,
        "object": "refund",
        "amount": None,
        "balance_transaction": None,
        "charge": None,
        "created": None,
        "currency": None,
        "destination_details": None,
        "failure_reason": None,
        "metadata": {},
        "payment_intent": None,
        "reason": None,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": None,
        "transfer_reversal": None,
    },
}


def present(resource: Resource) -> Resource:
    """Return the object with every field that Stripe's has."""
    return SHAPES[resource["object"]] | resource


def read_expand(paths: list[str]) -> Paths:
    """Raises `Refused` for a property that nothing here can expand."""
    parsed = [path.split(".") for path in paths]
    for path, steps in zip(paths, parsed, strict=True):
        if len(steps) > MAX_EXPAND_DEPTH or not EXPANDABLE.issuperset(steps):
            raise invalid(f"This property cannot be expanded ({path}).", param="expand")
    return parsed


def render(ledger: Ledger, value: Resource, expand: Paths) -> Resource:
    """Return the object, or the list of objects, with the named ids replaced by their objects."""
    if value.get("object") == "list":
        rest = [steps[1:] for steps in expand if steps[0] == "data" and steps[1:]]
        return value | {"data": [render(ledger, each, rest) for each in value["data"]]}
    shown = present(value) if "object" in value else dict(value)
    for head in {steps[0] for steps in expand}:
        rest = [steps[1:] for steps in expand if steps[0] == head and steps[1:]]
        held = shown.get(head)
        if isinstance(held, str):
            held = ledger.look_up(held)
        if held is not None:
            shown[head] = render(ledger, held, rest)
    return shown
