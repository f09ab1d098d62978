"""Refunds: the whole of a charge, or a part of it.

Source: https://docs.stripe.com/api/refunds
"""

from sandbox.stripe.calls import Call, Endpoint
from sandbox.stripe.clock import CLOCK
from sandbox.stripe.errors import Failed, invalid, missing_parameter
from sandbox.stripe.ledger import Ledger, Resource, new_id
from sandbox.stripe.lists import PAGING, list_page

REASONS = ("duplicate", "fraudulent", "requested_by_customer")


def _create(call: Call) -> Resource:
    call.parameters.allow("charge", "payment_intent", "amount", "reason", "metadata", "expand")
    reason = call.parameters.choice("reason", *REASONS)
    metadata = call.parameters.metadata({})
    amount = call.parameters.integer("amount")
    if amount is not None and amount < 1:
        raise invalid("Invalid positive integer", param="amount")
    fields = {"metadata": metadata, "reason": reason}
    status = "pending" if call.must_wait else "succeeded"
    return refund(call.ledger, _read_charge(call), amount, fields | {"status": status})


def refund(ledger: Ledger, charge: Resource, amount: int | None, fields: Resource) -> Resource:
    """Refund an amount of a charge, or what is left of it.

    Raises:
        Failed: so much is not left.
    """
    remaining = charge["amount"] - charge.get("amount_refunded", 0)
    amount = remaining if amount is None else amount
    _require_refundable(charge, amount, remaining)
    _require_undisputed(ledger, charge)
    made = fields | {
        "id": new_id("re"),
        "object": "refund",
        "amount": amount,
        "charge": charge["id"],
        "created": int(CLOCK.now()),
        "currency": charge["currency"],
        "payment_intent": charge["payment_intent"],
    }
    refunded = charge["amount"] - remaining + amount
    ledger.put(made)
    ledger.put(charge | {"amount_refunded": refunded, "refunded": refunded == charge["amount"]})
    return made


def settle_refund(ledger: Ledger, refund: Resource, *, succeeds: bool) -> Resource:
    """End a refund that is under way, or let one fail that had succeeded, as a card's may for
    thirty days. One that fails is the charge's no longer.
    """
    settled = refund | {"status": "succeeded" if succeeds else "failed"}
    if not succeeds:
        settled["failure_reason"] = "lost_or_stolen_card"
        charge = ledger.get("charge", refund["charge"])
        refunded = charge["amount_refunded"] - refund["amount"]
        ledger.put(charge | {"amount_refunded": refunded, "refunded": False})
    ledger.put(settled)
    return settled


def _read_charge(call: Call) -> Resource:
    if charge_id := call.parameters.text("charge"):
        return call.ledger.get("charge", charge_id, "charge")
    intent_id = call.parameters.text("payment_intent")
    if intent_id is None:
        raise missing_parameter("payment_intent")
    intent = call.ledger.get("payment_intent", intent_id, "payment_intent")
    if intent["status"] != "succeeded":
        raise Failed(
            400,
            "invalid_request_error",
            f"This PaymentIntent ({intent_id}) does not have a successful charge to refund.",
        )
    return call.ledger.get("charge", intent["latest_charge"])


def _require_refundable(charge: Resource, amount: int, remaining: int) -> None:
    if charge["status"] != "succeeded":
        raise Failed(
            400, "invalid_request_error", f"Charge {charge['id']} failed and cannot be refunded."
        )
    if remaining == 0:
        raise Failed(
            400,
            "invalid_request_error",
            f"Charge {charge['id']} has already been refunded.",
            code="charge_already_refunded",
        )
    if amount > remaining:
        raise Failed(
            400,
            "invalid_request_error",
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({remaining})",
            param="amount",
        )


def _require_undisputed(ledger: Ledger, charge: Resource) -> None:
    disputes = ledger.newest_first("dispute", charge=charge["id"])
    if not all(dispute["is_charge_refundable"] for dispute in disputes):
        raise Failed(
            400,
            "invalid_request_error",
            f"Charge {charge['id']} has been charged back; cannot issue a refund.",
            code="charge_disputed",
        )


def _retrieve(call: Call) -> Resource:
    call.parameters.allow("expand")
    return call.ledger.get("refund", call.object_id)


def _list(call: Call) -> Resource:
    call.parameters.allow("charge", "payment_intent", *PAGING)
    return list_page(
        call,
        "refund",
        charge=call.parameters.text("charge"),
        payment_intent=call.parameters.text("payment_intent"),
    )


ENDPOINTS: dict[str, Endpoint] = {
    "POST /v1/refunds": _create,
    "GET /v1/refunds": _list,
    "GET /v1/refunds/{id}": _retrieve,
}
