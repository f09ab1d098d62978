"""Customers, with the card that they are charged by default.

Source: https://docs.stripe.com/api/customers
"""

from sandbox.stripe.calls import Call, Endpoint
from sandbox.stripe.clock import CLOCK
from sandbox.stripe.errors import invalid, no_such
from sandbox.stripe.ledger import Ledger, Resource, new_id
from sandbox.stripe.lists import PAGING, list_page
from sandbox.stripe.parameters import Parameters
from sandbox.stripe.resources.payment_methods import attach_to, find_or_make, from_token

_TEXTS = ("description", "email", "name", "phone")
_SETTABLE = (*_TEXTS, "metadata", "source", "invoice_settings", "expand")


def _create(call: Call) -> Resource:
    call.parameters.allow("payment_method", *_SETTABLE)
    customer = {
        "id": new_id("cus"),
        "object": "customer",
        "created": int(CLOCK.now()),
        "default_source": None,
        "invoice_settings": _invoice_settings(None),
        "metadata": {},
    }
    return _set(call, customer)


def _update(call: Call) -> Resource:
    call.parameters.allow(*_SETTABLE)
    return _set(call, living_customer(call.ledger, call.object_id, "id"))


def _set(call: Call, current: Resource) -> Resource:
    """Everything is read and checked first, so a refusal leaves the ledger as it was."""
    customer = current | _read_texts(call.parameters)
    customer["metadata"] = call.parameters.metadata(current["metadata"])
    attached = _attach_named_payment_methods(call, customer)
    if token := call.parameters.text("source"):
        source = from_token(token, "source", "card") | {"customer": customer["id"]}
        customer["default_source"] = source["id"]
        attached.append(source)
    for payment_method in attached:
        call.ledger.put(payment_method)
    call.ledger.put(customer)
    return customer


def _attach_named_payment_methods(call: Call, customer: Resource) -> list[Resource]:
    settings = call.parameters.nested("invoice_settings")
    settings.allow("default_payment_method")
    default = settings.text("default_payment_method")
    names = {call.parameters.text("payment_method"): "payment_method"}
    names.setdefault(default, "invoice_settings[default_payment_method]")
    attached = {
        name: attach_to(customer["id"], find_or_make(call.ledger, name, param))
        for name, param in names.items()
        if name is not None
    }
    if default is not None:
        customer["invoice_settings"] = _invoice_settings(attached[default]["id"])
    return list(attached.values())


def _read_texts(parameters: Parameters) -> dict[str, str | None]:
    texts = {name: parameters.text(name) for name in _TEXTS if name in parameters}
    email = texts.get("email")
    if email is not None and "@" not in email:
        raise invalid(f"Invalid email address: {email}", code="email_invalid", param="email")
    return texts


def _invoice_settings(default_payment_method: str | None) -> Resource:
    return {
        "custom_fields": None,
        "default_payment_method": default_payment_method,
        "footer": None,
        "rendering_options": None,
    }


def _retrieve(call: Call) -> Resource:
    call.parameters.allow("expand")
    customer = call.ledger.get("customer", call.object_id)
    return _gone(customer) if customer.get("deleted") else customer


def _delete(call: Call) -> Resource:
    """For good; what it paid for stays, and is listed by its id (Stripe's API, "Delete")."""
    customer = living_customer(call.ledger, call.object_id, "id")
    call.ledger.put(customer | {"deleted": True})
    return _gone(customer)


def living_customer(ledger: Ledger, customer_id: str, param: str) -> Resource:
    """Raises `Refused` for a customer that there is not, or no longer."""
    customer = ledger.get("customer", customer_id, param)
    if customer.get("deleted"):
        raise no_such("customer", customer_id, param)
    return customer


def _gone(customer: Resource) -> Resource:
    return {"id": customer["id"], "deleted": True}


def _list(call: Call) -> Resource:
    call.parameters.allow("email", *PAGING)
    return list_page(call, "customer", email=call.parameters.text("email"))


ENDPOINTS: dict[str, Endpoint] = {
    "POST /v1/customers": _create,
    "GET /v1/customers": _list,
    "GET /v1/customers/{id}": _retrieve,
    "POST /v1/customers/{id}": _update,
    "DELETE /v1/customers/{id}": _delete,
}
