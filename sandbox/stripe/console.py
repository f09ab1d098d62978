"""The control API under `/_sandbox/`: faults, the ledger of charges, what a bank or the dashboard
does, where events go, the clock, pruning, reset.

It is what tests and demos use to arrange failures and to count what was really charged; Stripe has
nothing like it. JSON in, JSON out, no credentials, never delayed by a fault, and refused to the
page of another site.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import chain
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sandbox.stripe import bank
from sandbox.stripe.api import StripeAPI
from sandbox.stripe.clock import CLOCK
from sandbox.stripe.errors import StripeError
from sandbox.stripe.faults import InvalidFault
from sandbox.stripe.ledger import Resource
from sandbox.stripe.resources import disputes, refunds
from sandbox.stripe.resources.confirming import BANK_PAGE
from sandbox.stripe.shapes import present
from sandbox.stripe.webhooks import WebhookEndpoint
from sandbox.stripe.wire import Answer, Request

PREFIX = "/_sandbox/"
LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
CHARGE_FIELDS = (
    *("id", "amount", "amount_refunded", "currency", "customer", "payment_intent"),
    *("payment_method", "status", "description", "metadata", "created", "disputed"),
)

Reply = dict[str, Any]


class BadRequest(Exception):
    """A control call that cannot be read; the message says why."""


class Console:
    """The control calls, by method and path."""

    def __init__(self, api: StripeAPI) -> None:
        self._api = api
        self._calls: dict[str, Callable[[Request], Reply]] = {
            "GET health": self._health,
            "GET faults": self._list_faults,
            "POST faults": self._add_fault,
            "DELETE faults": self._clear_faults,
            "GET charges": self._charges,
            "GET payment_intents": self._payment_intents,
            "GET calls": self._count_calls,
            "POST settle": self._settle,
            "POST disputes": self._dispute,
            "POST refunds": self._refund,
            "POST endpoint": self._set_endpoint,
            "GET events": self._events,
            "POST events": self._send_event_again,
            "POST clock": self._set_clock,
            "POST age": self._age,
            "POST prune": self._prune,
            "POST reset": self._reset,
        }

    def answer(self, request: Request) -> Answer:
        if not _is_from_here(request):
            return _json_answer(403, {"error": "a control call names this machine as its Host"})
        if request.path.startswith(BANK_PAGE):
            return bank.answer(self._api.ledger, request)
        name = f"{request.method} {request.path.removeprefix(PREFIX)}"
        call = self._calls.get(name)
        if call is None:
            return _json_answer(404, {"error": f"no such control call: {name}"})
        try:
            return _json_answer(200, call(request))
        except (BadRequest, InvalidFault) as error:
            return _json_answer(400, {"error": str(error)})

    def _health(self, request: Request) -> Reply:
        return {"status": "ok", "pid": os.getpid()}

    def _list_faults(self, request: Request) -> Reply:
        return {"faults": self._api.faults.described()}

    def _add_fault(self, request: Request) -> Reply:
        return self._api.faults.add(_read_json(request)).described()

    def _clear_faults(self, request: Request) -> Reply:
        self._api.faults.clear()
        return {"faults": []}

    def _charges(self, request: Request) -> Reply:
        wanted = parse_qs(request.query.decode("latin-1")).get("status")
        return {
            "charges": [
                _ledger_line(charge, key)
                for charge, key in self._api.ledger.charges()
                if wanted is None or charge["status"] in wanted
            ]
        }

    def _payment_intents(self, request: Request) -> Reply:
        by_key: defaultdict[str, list[str]] = defaultdict(list)
        waiting, each = [], []
        for intent in self._api.ledger.newest_first("payment_intent"):
            by_key[str(intent["metadata"].get("foreign_key"))].append(intent["status"])
            if intent["status"] in bank.UNDER_WAY:
                waiting.append(intent["id"])
            seen = {name: intent[name] for name in ("id", "status", "created", "customer")}
            each.append(seen | {"foreign_key": intent["metadata"].get("foreign_key")})
        by_status = Counter(chain.from_iterable(by_key.values()))
        return {
            "count": by_status.total(),
            "by_status": by_status,
            "by_key": by_key,
            "waiting": waiting,
            "each": each,
        }

    def _count_calls(self, request: Request) -> Reply:
        api = self._api
        return {"calls": api.calls, "replays": api.replays, "mismatches": api.mismatches}

    def _prune(self, request: Request) -> Reply:
        seconds = _read_json(request).get("older_than_seconds", 0)
        if not isinstance(seconds, int | float) or seconds < 0:
            raise BadRequest("older_than_seconds: must be a number from 0")
        return {"pruned": self._api.keys.prune(seconds)}

    def _settle(self, request: Request) -> Reply:
        given = _read_json(request)
        if not isinstance(given.get("succeeds"), bool):
            raise BadRequest("succeeds: must be true or false")
        settled = bank.decide(self._api.ledger, str(given.get("id")), given["succeeds"])
        if settled is None:
            raise BadRequest("id: must be that of a payment, refund or dispute that is under way")
        return {"id": settled["id"], "status": settled["status"]}

    def _dispute(self, request: Request) -> Reply:
        given = _read_json(request)
        status = given.get("status", "needs_response")
        if status not in disputes.UNDER_WAY:
            raise BadRequest(f"status: must be one of {', '.join(disputes.UNDER_WAY)}")
        charge = self._charge_that_succeeded(given)
        dispute = disputes.open_dispute(self._api.ledger, charge, status=status)
        self._api.ledger.commit(None)
        return {"id": dispute["id"]}

    def _refund(self, request: Request) -> Reply:
        """As somebody does in the dashboard: without a key, and without our metadata."""
        given = _read_json(request)
        fields = {"reason": "requested_by_customer", "status": given.get("status", "succeeded")}
        charge = self._charge_that_succeeded(given)
        try:
            refund = refunds.refund(self._api.ledger, charge, given.get("amount"), fields)
        except StripeError as error:
            raise BadRequest(str(error)) from error
        self._api.ledger.commit(None)
        return {"id": refund["id"]}

    def _charge_that_succeeded(self, given: Reply) -> Resource:
        try:
            charge = self._api.ledger.get("charge", str(given.get("charge")))
        except StripeError as error:
            raise BadRequest(f"charge: {error}") from error
        if charge["status"] != "succeeded":
            raise BadRequest("charge: must be one that succeeded")
        return charge

    def _set_endpoint(self, request: Request) -> Reply:
        given = _read_json(request)
        try:
            endpoint = WebhookEndpoint(**given)
        except TypeError as error:
            raise BadRequest("an endpoint has url, secrets and retry_seconds") from error
        self._api.send_events_to([endpoint])
        return given

    def _events(self, request: Request) -> Reply:
        return {"events": self._api.webhooks.described()}

    def _send_event_again(self, request: Request) -> Reply:
        event_id = str(_read_json(request).get("id"))
        if not self._api.webhooks.send_again(event_id):
            raise BadRequest("id: must be that of an event that was sent lately")
        return {"id": event_id}

    def _set_clock(self, request: Request) -> Reply:
        seconds = _read_json(request).get("ahead_seconds", 0)
        if not isinstance(seconds, int | float):
            raise BadRequest("ahead_seconds: must be a number")
        CLOCK.set_ahead(seconds)
        return {"now": CLOCK.now()}

    def _age(self, request: Request) -> Reply:
        seconds = _read_json(request).get("seconds")
        if not isinstance(seconds, int):
            raise BadRequest("seconds: must be a whole number")
        self._api.ledger.age(seconds)
        self._api.keys.age(seconds)
        return {"status": "ok"}

    def _reset(self, request: Request) -> Reply:
        self._api.reset()
        return {"status": "ok"}


def _ledger_line(charge: Resource, idempotency_key: str | None) -> Reply:
    shown = present(charge)
    line = {name: shown[name] for name in CHARGE_FIELDS}
    return line | {"idempotency_key": idempotency_key}


def _is_from_here(request: Request) -> bool:
    """Say whether the call is from a program of this machine, and not from a page in its browser.

    A page of another site sends its `Origin`, or, where it has had its name lead to this machine,
    that name as `Host`.
    """
    host = request.headers.get("host", "")
    origin = request.headers.get("origin", f"http://{host}")
    return urlsplit(f"//{host}").hostname in LOCAL_NAMES and origin == f"http://{host}"


def _read_json(request: Request) -> Reply:
    try:
        given = json.loads(request.body or b"{}")
    except ValueError as error:
        raise BadRequest("the body is not JSON") from error
    if not isinstance(given, dict):
        raise BadRequest("the body is not a JSON object")
    return given


def _json_answer(status: int, reply: Reply) -> Answer:
    headers = {"Content-Type": "application/json"}
    return Answer(status=status, body=json.dumps(reply).encode(), headers=headers)
