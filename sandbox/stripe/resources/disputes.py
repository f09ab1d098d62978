"""Disputes: a rider's bank asks for the money of a charge back.

Source: https://docs.stripe.com/api/disputes
"""

from sandbox.stripe.calls import Call, Endpoint
from sandbox.stripe.clock import CLOCK
from sandbox.stripe.ledger import Ledger, Resource, new_id
from sandbox.stripe.lists import PAGING, list_page

UNDER_WAY = ("needs_response", "under_review", "warning_needs_response", "warning_under_review")


def open_dispute(ledger: Ledger, charge: Resource, *, status: str) -> Resource:
    """Have the bank dispute a charge. A warning asks only, and takes no money yet."""
    dispute = {
        "id": new_id("du"),
        "object": "dispute",
        "amount": charge["amount"],
        "charge": charge["id"],
        "created": int(CLOCK.now()),
        "currency": charge["currency"],
        "is_charge_refundable": status.startswith("warning_"),
        "payment_intent": charge["payment_intent"],
        "reason": "fraudulent",
        "status": status,
    }
    ledger.put(dispute)
    ledger.put(charge | {"disputed": True})
    return dispute


def settle_dispute(ledger: Ledger, dispute: Resource, *, succeeds: bool) -> Resource:
    """End a dispute, for us where it succeeds. The charge stays one that was disputed."""
    won = "warning_closed" if dispute["status"].startswith("warning_") else "won"
    settled = dispute | {"status": won if succeeds else "lost", "is_charge_refundable": succeeds}
    ledger.put(settled)
    return settled


def _retrieve(call: Call) -> Resource:
    call.parameters.allow("expand")
    return call.ledger.get("dispute", call.object_id)


def _list(call: Call) -> Resource:
    call.parameters.allow("charge", "payment_intent", *PAGING)
    return list_page(
        call,
        "dispute",
        charge=call.parameters.text("charge"),
        payment_intent=call.parameters.text("payment_intent"),
    )


ENDPOINTS: dict[str, Endpoint] = {
    "GET /v1/disputes": _list,
    "GET /v1/disputes/{id}": _retrieve,
}
