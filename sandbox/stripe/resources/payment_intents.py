"""Payment intents: create, confirm, cancel, retrieve, list.

`confirming.py` takes the money; this module reads the parameters and keeps the life cycle.
Source: https://docs.stripe.com/api/payment_intents and
https://docs.stripe.com/payments/paymentintents/lifecycle
"""

import re
import secrets

from sandbox.stripe.calls import Call, Endpoint
from sandbox.stripe.clock import CLOCK
from sandbox.stripe.errors import Failed, invalid
from sandbox.stripe.ledger import Resource, new_id
from sandbox.stripe.lists import PAGING, list_page
from sandbox.stripe.parameters import Parameters
from sandbox.stripe.resources.confirming import (
    confirm_intent,
    default_source,
    named_payment_method,
)
from sandbox.stripe.resources.customers import living_customer
from sandbox.stripe.shapes import present

MIN_AMOUNT = 50  # in the currency's minor unit
MAX_AMOUNT = 99_999_999
CURRENCIES = frozenset(
    ("aud", "cad", "chf", "dkk", "eur", "gbp", "jpy", "nok", "nzd", "sek", "usd")
)
RETURN_URL = re.compile(r"https?://[!-~]{1,2000}")
UNPAID = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELLATION_REASONS = ("abandoned", "duplicate", "fraudulent", "requested_by_customer")


def _create(call: Call) -> Resource:
    call.parameters.allow(
        *("amount", "currency", "customer", "payment_method", "description", "metadata"),
        *("confirm", "off_session", "receipt_email", "statement_descriptor_suffix"),
        *("automatic_payment_methods", "payment_method_types", "return_url", "expand"),
    )
    confirms = call.parameters.flag("confirm")
    off_session = _read_off_session(call.parameters)
    if off_session and not confirms:
        raise invalid(
            "You cannot set `off_session` to true when `confirm` is not true.", param="off_session"
        )
    intent = _read_intent(call)
    payment_method = named_payment_method(call, intent)
    if confirms:
        payer = payment_method or default_source(call, intent)
        return_url = _read_return_url(call.parameters, intent)
        return confirm_intent(call, intent, payer, off_session=off_session, return_url=return_url)
    if payment_method is not None:
        call.ledger.put(payment_method)
        intent |= {"payment_method": payment_method["id"], "status": "requires_confirmation"}
    call.ledger.put(intent)
    return intent


def _confirm(call: Call) -> Resource:
    call.parameters.allow("payment_method", "off_session", "return_url", "expand")
    intent = call.ledger.get("payment_intent", call.object_id)
    off_session = _read_off_session(call.parameters)
    payer = named_payment_method(call, intent)
    if payer is None and intent["payment_method"] is not None:
        payer = call.ledger.get("payment_method", intent["payment_method"])
    _require_unpaid(intent, "confirm")
    return_url = _read_return_url(call.parameters, intent)
    return confirm_intent(call, intent, payer, off_session=off_session, return_url=return_url)


def _cancel(call: Call) -> Resource:
    call.parameters.allow("cancellation_reason", "expand")
    reason = call.parameters.choice("cancellation_reason", *CANCELLATION_REASONS)
    intent = call.ledger.get("payment_intent", call.object_id)
    _require_unpaid(intent, "cancel")
    canceled = intent | {
        "canceled_at": int(CLOCK.now()),
        "cancellation_reason": reason,
        "next_action": None,
        "status": "canceled",
    }
    call.ledger.put(canceled)
    return canceled


def _retrieve(call: Call) -> Resource:
    call.parameters.allow("expand")
    return call.ledger.get("payment_intent", call.object_id)


def _list(call: Call) -> Resource:
    call.parameters.allow("customer", *PAGING)
    return list_page(call, "payment_intent", customer=call.parameters.text("customer"))


def _read_intent(call: Call) -> Resource:
    intent_id = new_id("pi")
    return {
        "id": intent_id,
        "object": "payment_intent",
        "amount": _read_amount(call.parameters),
        "automatic_payment_methods": _read_automatic_payment_methods(call.parameters),
        "client_secret": f"{intent_id}_secret_{secrets.token_hex(12)}",
        "created": int(CLOCK.now()),
        "currency": _read_currency(call.parameters),
        "customer": _read_customer(call),
        "description": call.parameters.text("description"),
        "metadata": call.parameters.metadata({}),
        "payment_method": None,
        "payment_method_types": _read_types(call.parameters),
        "receipt_email": call.parameters.text("receipt_email"),
        "statement_descriptor_suffix": call.parameters.text("statement_descriptor_suffix"),
        "status": "requires_payment_method",
    }


def _read_amount(parameters: Parameters) -> int:
    amount = parameters.required_integer("amount")
    if amount < 1:
        raise invalid(
            "This value must be greater than or equal to 1.",
            code="parameter_invalid_integer",
            param="amount",
        )
    if amount < MIN_AMOUNT:
        raise invalid(
            "The amount is below the minimum that can be charged.",
            code="amount_too_small",
            param="amount",
        )
    if amount > MAX_AMOUNT:
        raise invalid(
            "The amount is above the maximum that can be charged.",
            code="amount_too_large",
            param="amount",
        )
    return amount


def _read_currency(parameters: Parameters) -> str:
    currency = parameters.required_text("currency").lower()
    if currency not in CURRENCIES:
        supported = ", ".join(sorted(CURRENCIES))
        raise invalid(
            f"Invalid currency: {currency}. Stripe currently supports these currencies: "
            f"{supported}",
            param="currency",
        )
    return currency


def _read_customer(call: Call) -> str | None:
    customer_id = call.parameters.text("customer")
    if customer_id is not None:
        living_customer(call.ledger, customer_id, "customer")
    return customer_id


def _read_off_session(parameters: Parameters) -> bool:
    # Stripe takes a boolean or, from older integrations, the kind of mandate.
    if parameters.text("off_session") in ("one_off", "recurring"):
        return True
    return parameters.flag("off_session")


def _read_return_url(parameters: Parameters, intent: Resource) -> str | None:
    return_url = parameters.text("return_url")
    if return_url is not None and not RETURN_URL.fullmatch(return_url):
        raise invalid("Not a valid URL", code="url_invalid", param="return_url")
    automatic = intent["automatic_payment_methods"]
    may_redirect = automatic and automatic["enabled"] and automatic["allow_redirects"] == "always"
    if may_redirect and return_url is None:
        raise invalid(
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. "
            "Because some of these payment methods might redirect your customer off of your page, "
            "you must provide a `return_url`.",
            param="return_url",
        )
    return return_url


def _read_automatic_payment_methods(parameters: Parameters) -> Resource | None:
    if "automatic_payment_methods" not in parameters:
        return None
    automatic = parameters.nested("automatic_payment_methods")
    automatic.allow("enabled", "allow_redirects")
    redirects = automatic.choice("allow_redirects", "always", "never") or "always"
    return {"allow_redirects": redirects, "enabled": automatic.flag("enabled")}


def _read_types(parameters: Parameters) -> list[str]:
    types = parameters.listed("payment_method_types") or ["card"]
    if types != ["card"]:
        raise invalid(
            f"The payment method types {types} are not activated on this account.",
            param="payment_method_types",
        )
    return types


def _require_unpaid(intent: Resource, verb: str) -> None:
    if intent["status"] in UNPAID:
        return
    raise Failed(
        400,
        "invalid_request_error",
        f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}. "
        f"Only a PaymentIntent with one of the following statuses may be {verb}ed: "
        f"{', '.join(UNPAID)}.",
        code="payment_intent_unexpected_state",
        payment_intent=present(intent),
    )


ENDPOINTS: dict[str, Endpoint] = {
    "POST /v1/payment_intents": _create,
    "GET /v1/payment_intents": _list,
    "GET /v1/payment_intents/{id}": _retrieve,
    "POST /v1/payment_intents/{id}/confirm": _confirm,
    "POST /v1/payment_intents/{id}/cancel": _cancel,
}
