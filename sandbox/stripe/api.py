"""What happens to a call between the wire and its endpoint, in Stripe's order.

The key is checked, then the idempotency layer asked, then the endpoint executed, its changes and
its answer committed, and only then the answer sent. The faults strike in between.
"""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate

from sandbox.stripe.authentication import account_of
from sandbox.stripe.calls import Call, Endpoint
from sandbox.stripe.clock import CLOCK
from sandbox.stripe.errors import (
    ConnectionDropped,
    Failed,
    Refused,
    StripeError,
    internal_error,
    invalid,
    key_in_use,
    no_such,
    rate_limited,
)
from sandbox.stripe.faults import (
    DECLINES,
    HOSTILE_WORDS,
    ON_ANSWER,
    ON_ARRIVAL,
    ON_EXECUTION,
    Fault,
    FaultKind,
    Faults,
)
from sandbox.stripe.idempotency import IdempotencyKeys, KeyedRequest, SavedAnswer
from sandbox.stripe.ledger import Ledger, Resource, new_id
from sandbox.stripe.parameters import decode, fingerprint
from sandbox.stripe.resources import ENDPOINTS
from sandbox.stripe.shapes import read_expand, render
from sandbox.stripe.webhooks import WebhookEndpoint, Webhooks
from sandbox.stripe.wire import Answer, Request

Fired = dict[FaultKind, Fault]


@dataclass(frozen=True, kw_only=True, slots=True)
class Admitted:
    """A request with a known key and a known endpoint, not yet executed."""

    request: Request
    request_id: str
    endpoint: Endpoint
    object_id: str  # the id in the URL, if it has one
    keyed: KeyedRequest | None


class StripeAPI:
    """The stand-in's state, and the one way in for calls of Stripe's API."""

    def __init__(
        self,
        store: sqlite3.Connection,
        *,
        latency_seconds: float,
        endpoints: Sequence[WebhookEndpoint] = (),
    ) -> None:
        self._latency_seconds = latency_seconds
        self.ledger = Ledger(store)
        self.keys = IdempotencyKeys(store)
        self.faults = Faults()
        self.webhooks = Webhooks(self.faults, endpoints)
        self.send_events_to(endpoints)
        self.calls: Counter[str] = Counter()
        self.replays = 0
        self.mismatches = 0  # keys that were sent with another question

    def send_events_to(self, endpoints: Sequence[WebhookEndpoint]) -> None:
        self.webhooks.endpoints = endpoints
        self.ledger.tell = self.webhooks.tell if endpoints else None

    def reset(self) -> None:
        """Remove everything."""
        self.webhooks.clear()
        self.send_events_to(self.webhooks.endpoints)
        self.ledger.clear()
        self.keys.clear()
        self.faults.clear()
        self.calls.clear()
        self.replays = self.mismatches = 0
        CLOCK.clear()

    async def answer(self, request: Request) -> Answer:
        """Raises `ConnectionDropped` where a fault asks for a reset."""
        request_id = new_id("req")
        headers = {"Content-Type": "application/json", "Request-Id": request_id}
        headers["Date"] = formatdate(CLOCK.now(), usegmt=True)
        if version := request.headers.get("stripe-version"):
            headers["Stripe-Version"] = version
        try:
            answer = await self._attempt(request, request_id)
        except StripeError as error:
            self.mismatches += error.error["type"] == "idempotency_error"
            answer = _error_answer(error)
        return Answer(status=answer.status, body=answer.body, headers=headers | answer.headers)

    async def _attempt(self, request: Request, request_id: str) -> Answer:
        admitted = self._admit(request, request_id)
        keyed = admitted.keyed
        saved = self.keys.claim(keyed) if keyed else None
        if saved is not None:
            self.replays += 1
            return await self._deliver(admitted, _replay(saved))
        try:
            answer = await self._execute(admitted)
        finally:
            if keyed:
                self.keys.release(keyed)
        return await self._deliver(admitted, answer)

    def _admit(self, request: Request, request_id: str) -> Admitted:
        account = account_of(request.headers.get("authorization", ""))
        self._strike_on_arrival(request)
        name, endpoint, object_id = _route(request)
        self.calls[name] += 1
        return Admitted(
            request=request,
            request_id=request_id,
            endpoint=endpoint,
            object_id=object_id,
            keyed=_keyed(request, account),
        )

    async def _execute(self, admitted: Admitted) -> Answer:
        """Run the endpoint and save its answer under the key, unless it refused to begin."""
        fired = self._fire(ON_EXECUTION, admitted.request)
        delay = self._latency_seconds + _seconds(fired, FaultKind.LATENCY)
        if delay:
            await asyncio.sleep(delay)
        try:
            answer = _success(self._run(admitted, fired))
        except Failed as failure:
            if FaultKind.HOSTILE_DECLINE in fired:
                failure.error["message"] = HOSTILE_WORDS
            answer = _error_answer(failure)
        saved = _to_save(admitted.keyed, answer, admitted.request_id) if admitted.keyed else None
        if saved is not None:
            self.keys.save(saved)
        self.ledger.commit(saved.key if saved else None)
        return _first_answer(saved, answer) if saved else answer

    def _run(self, admitted: Admitted, fired: Fired) -> Resource:
        if FaultKind.ERROR_BEFORE in fired:
            raise internal_error()
        request = admitted.request
        parameters = decode(request.body if request.method == "POST" else request.query)
        expand = read_expand(parameters.listed("expand"))
        call = Call(
            ledger=self.ledger,
            parameters=parameters,
            path=request.path,
            object_id=admitted.object_id,
            host=request.headers.get("host", ""),
            must_decline=any(kind in fired for kind in DECLINES),
            must_process=FaultKind.PROCESSING in fired,
            must_wait=FaultKind.REFUND_PENDING in fired,
        )
        resource = render(self.ledger, admitted.endpoint(call), expand)
        if FaultKind.ERROR_AFTER in fired:
            raise internal_error()
        return resource

    def _strike_on_arrival(self, request: Request) -> None:
        fired = self._fire(ON_ARRIVAL, request)
        if FaultKind.RESET_BEFORE in fired:
            raise ConnectionDropped
        if FaultKind.RATE_LIMIT in fired:
            raise rate_limited(_seconds(fired, FaultKind.RATE_LIMIT))
        if FaultKind.HOSTILE_REFUSAL in fired:
            raise invalid(HOSTILE_WORDS)
        if FaultKind.CUSTOMER_MISSING in fired and b"customer=" in request.query:
            raise no_such("customer", "cus_missing", "customer")
        if FaultKind.CONFLICT in fired:
            raise key_in_use(request.headers.get("idempotency-key", ""))

    async def _deliver(self, admitted: Admitted, answer: Answer) -> Answer:
        """The answer as it reaches the client, when it does."""
        fired = self._fire(ON_ANSWER, admitted.request)
        if FaultKind.KEY_PRUNED in fired and admitted.keyed:
            self.keys.forget(admitted.keyed)
        if FaultKind.STALL in fired:
            await asyncio.sleep(_seconds(fired, FaultKind.STALL))
        if FaultKind.RESET_AFTER in fired:
            raise ConnectionDropped
        if FaultKind.MALFORMED_JSON in fired:
            half = answer.body[: len(answer.body) // 2]
            return Answer(status=answer.status, body=half, headers=answer.headers)
        return answer

    def _fire(self, kinds: tuple[FaultKind, ...], request: Request) -> Fired:
        key = request.headers.get("idempotency-key")
        return self.faults.fire(kinds, request.method, request.path, key)


def _route(request: Request) -> tuple[str, Endpoint, str]:
    """Return the name in the table of endpoints, the endpoint, and the id in the URL."""
    parts = request.path.split("/")
    object_id = parts[3] if len(parts) > 3 else ""
    if object_id:
        parts[3] = "{id}"
    name = f"{request.method} {'/'.join(parts)}"
    endpoint = ENDPOINTS.get(name)
    if endpoint is None:
        raise Refused(
            404,
            "invalid_request_error",
            f"Unrecognized request URL ({request.method}: {request.path}).",
        )
    return name, endpoint, object_id


def _keyed(request: Request, account: str) -> KeyedRequest | None:
    """Only POST has a key to heed; the others are idempotent by definition."""
    key = request.headers.get("idempotency-key")
    if not key or request.method != "POST":
        return None
    return KeyedRequest(
        account=account, key=key, path=request.path, fingerprint=fingerprint(request.body)
    )


def _seconds(fired: Fired, kind: FaultKind) -> float:
    return fired[kind].seconds if kind in fired else 0.0


def _success(resource: Resource) -> Answer:
    return Answer(status=200, body=json.dumps(resource).encode())


def _error_answer(error: StripeError) -> Answer:
    body = json.dumps({"error": error.error}).encode()
    return Answer(status=error.status, body=body, headers=error.headers)


def _to_save(keyed: KeyedRequest, answer: Answer, request_id: str) -> SavedAnswer:
    return SavedAnswer(
        account=keyed.account,
        key=keyed.key,
        path=keyed.path,
        fingerprint=keyed.fingerprint,
        status=answer.status,
        body=answer.body.decode(),
        request_id=request_id,
        created=CLOCK.now(),
    )


def _first_answer(saved: SavedAnswer, answer: Answer) -> Answer:
    headers = answer.headers | _key_headers(saved)
    return Answer(status=answer.status, body=answer.body, headers=headers)


def _replay(saved: SavedAnswer) -> Answer:
    headers = _key_headers(saved) | {"Idempotent-Replayed": "true"}
    return Answer(status=saved.status, body=saved.body.encode(), headers=headers)


def _key_headers(saved: SavedAnswer) -> dict[str, str]:
    headers = {"Idempotency-Key": saved.key, "Original-Request": saved.request_id}
    if saved.status >= 500:
        # A retry under the same key would only get the saved error again.
        headers["Stripe-Should-Retry"] = "false"
    return headers
