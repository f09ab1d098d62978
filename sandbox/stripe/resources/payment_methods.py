"""Payment methods: made from a test token, or named as one of Stripe's test cards.

Source: https://docs.stripe.com/api/payment_methods
"""

from sandbox.stripe.calls import Call, Endpoint
from sandbox.stripe.cards import Card, card_fields, card_for
from sandbox.stripe.clock import CLOCK
from sandbox.stripe.errors import invalid, missing_parameter, no_such
from sandbox.stripe.ledger import Ledger, Resource, new_id
from sandbox.stripe.lists import PAGING, list_page


def from_token(token: str, param: str, prefix: str) -> Resource:
    """Make a payment method, not yet in the ledger; `prefix` is `pm`, or `card` for a source."""
    card = card_for(token, "tok_")
    if card is None:
        raise no_such("token", token, param)
    return _new_payment_method(prefix, card)


def find_or_make(ledger: Ledger, name: str, param: str) -> Resource:
    """Find the payment method with that id, or make one, not yet in the ledger, for `pm_card_…`."""
    card = card_for(name, "pm_card_")
    return _new_payment_method("pm", card) if card else ledger.get("payment_method", name, param)


def attach_to(customer_id: str, payment_method: Resource) -> Resource:
    """Raises `Refused` when it is attached to another customer already."""
    if payment_method.get("customer") not in (None, customer_id):
        raise invalid("The payment method you provided has already been attached to a customer.")
    return payment_method | {"customer": customer_id}


def _create(call: Call) -> Resource:
    call.parameters.allow("type", "card", "metadata", "expand")
    if call.parameters.choice("type", "card") is None:
        raise missing_parameter("type")
    card = call.parameters.nested("card")
    card.allow("token")
    payment_method = from_token(card.required_text("token"), "card[token]", "pm")
    payment_method["metadata"] = call.parameters.metadata({})
    call.ledger.put(payment_method)
    return payment_method


def _retrieve(call: Call) -> Resource:
    call.parameters.allow("expand")
    found = find_or_make(call.ledger, call.object_id, "id")
    if found["id"] != call.object_id:
        # The name of a test card stands for a new payment method each time.
        call.ledger.put(found)
    return found


def _attach(call: Call) -> Resource:
    call.parameters.allow("customer", "expand")
    customer_id = call.parameters.required_text("customer")
    call.ledger.get("customer", customer_id, "customer")
    payment_method = find_or_make(call.ledger, call.object_id, "id")
    attached = attach_to(customer_id, payment_method)
    call.ledger.put(attached)
    return attached


def _list(call: Call) -> Resource:
    call.parameters.allow("customer", "type", *PAGING)
    return list_page(
        call,
        "payment_method",
        customer=call.parameters.text("customer"),
        type=call.parameters.choice("type", "card"),
    )


def _list_of_customer(call: Call) -> Resource:
    call.parameters.allow("type", *PAGING)
    call.ledger.get("customer", call.object_id)
    return list_page(
        call,
        "payment_method",
        customer=call.object_id,
        type=call.parameters.choice("type", "card"),
    )


def _new_payment_method(prefix: str, card: Card) -> Resource:
    return {
        "id": new_id(prefix),
        "object": "payment_method",
        "card": card_fields(card),
        "created": int(CLOCK.now()),
        "customer": None,
        "metadata": {},
        "type": "card",
    }


ENDPOINTS: dict[str, Endpoint] = {
    "POST /v1/payment_methods": _create,
    "GET /v1/payment_methods": _list,
    "GET /v1/payment_methods/{id}": _retrieve,
    "POST /v1/payment_methods/{id}/attach": _attach,
    "GET /v1/customers/{id}/payment_methods": _list_of_customer,
}
