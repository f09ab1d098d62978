"""The page of the rider's bank, for payments that wait for their rider (3-D Secure), as a browser
sees it; and what ends any payment that is under way.

Source: https://docs.stripe.com/payments/3d-secure/authentication-flow
"""

from html import escape
from urllib.parse import parse_qs, urlencode

from iso4217 import Currency

from sandbox.stripe.errors import StripeError
from sandbox.stripe.ledger import Ledger, Resource
from sandbox.stripe.resources import disputes
from sandbox.stripe.resources.confirming import BANK_PAGE, settle
from sandbox.stripe.resources.refunds import settle_refund
from sandbox.stripe.wire import Answer, Request

UNDER_WAY = ("requires_action", "processing", "pending", *disputes.UNDER_WAY)

SETTLED = {"pi": "payment_intent", "re": "refund", "du": "dispute"}

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Your bank</title>
<style>body {{ font: 1.1em sans-serif; margin: 4em auto; max-width: 28em }}
button {{ font: inherit; padding: .5em 1em }}</style>
<h1>Your bank</h1>
<p>{said}</p>
{form}
"""
FORM = """<form method="post">
<button name="decision" value="confirm">Confirm the payment</button>
<button name="decision" value="refuse">Refuse it</button>
</form>"""


def answer(ledger: Ledger, request: Request) -> Answer:
    """Show the page, or take the rider's decision and lead back to the shop."""
    payment_id = request.path.removeprefix(BANK_PAGE)
    intent = _waiting(ledger, payment_id)
    if intent is None or intent["object"] != "payment_intent":
        return _page(404, "There is no payment here that waits for you.", "")
    if request.method != "POST":
        return _page(200, f"Rocket Rides asks for {_amount(intent)}.", FORM)
    decision = parse_qs(request.body.decode("latin-1")).get("decision", [""])[0]
    if decision not in ("confirm", "refuse"):
        return _page(400, "The bank has not understood.", FORM)
    decide(ledger, payment_id, decision == "confirm")
    return _back_to_the_shop(intent)


def decide(ledger: Ledger, object_id: str, succeeds: bool) -> Resource | None:
    """End a payment, a refund or a dispute that is under way; None where it is not."""
    waiting = _waiting(ledger, object_id) or _may_fail(ledger, object_id, succeeds)
    if waiting is None:
        return None
    if waiting["object"] == "refund":
        settled = settle_refund(ledger, waiting, succeeds=succeeds)
    elif waiting["object"] == "dispute":
        settled = disputes.settle_dispute(ledger, waiting, succeeds=succeeds)
    else:
        settled = settle(ledger, waiting, succeeds=succeeds)
    ledger.commit(ledger.charged_under(object_id))
    return settled


def _amount(intent: Resource) -> str:
    """Write what is asked for, with as many decimals as the currency has."""
    currency = intent["currency"].upper()
    decimals = Currency(currency).exponent or 0
    return escape(f"{intent['amount'] / 10**decimals:.{decimals}f} {currency}")


def _waiting(ledger: Ledger, object_id: str) -> Resource | None:
    found = _found(ledger, object_id)
    return found if found and found["status"] in UNDER_WAY else None


def _may_fail(ledger: Ledger, object_id: str, succeeds: bool) -> Resource | None:
    """Return a refund that has succeeded, and is to fail all the same."""
    found = _found(ledger, object_id)
    if found is None or succeeds:
        return None
    return found if (found["object"], found["status"]) == ("refund", "succeeded") else None


def _found(ledger: Ledger, object_id: str) -> Resource | None:
    kind = SETTLED.get(object_id.partition("_")[0])
    try:
        return ledger.get(kind, object_id) if kind else None
    except StripeError:
        return None


def _back_to_the_shop(intent: Resource) -> Answer:
    action = (intent.get("next_action") or {}).get("redirect_to_url")
    if action is None:
        return _page(200, "Thank you. You can close this page.", "")
    query = urlencode(
        {
            "payment_intent": intent["id"],
            "payment_intent_client_secret": intent["client_secret"],
            "source_type": "card",
        }
    )
    separator = "&" if "?" in action["return_url"] else "?"
    return Answer(
        status=303, body=b"", headers={"Location": f"{action['return_url']}{separator}{query}"}
    )


def _page(status: int, said: str, form: str) -> Answer:
    body = PAGE.format(said=said, form=form).encode()
    return Answer(status=status, body=body, headers={"Content-Type": "text/html; charset=utf-8"})
