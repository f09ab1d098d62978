"""Sending events as Stripe does: each to each endpoint, signed, and again until that answers 2xx.

Late, twice, out of order, never, or with a wrong signature where a fault asks for that. What is not
delivered yet is lost with the process.
Source: https://docs.stripe.com/webhooks and https://docs.stripe.com/webhooks/signature
"""

import asyncio
import hashlib
import hmac
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sandbox.stripe.clock import CLOCK
from sandbox.stripe.events import events_of
from sandbox.stripe.faults import ON_EVENT, Fault, FaultKind, Faults
from sandbox.stripe.ledger import Change, Resource

MOST_TRIES = 16
LONGEST_PAUSE_SECONDS = 3_600.0
ANSWER_WITHIN_SECONDS = 10.0
MOST_KEPT = 1_000

NOT_REACHED = 0
"""In the place of a status, where nothing answered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookEndpoint:
    """Where events go. Each is signed with every secret: in a rotation there are two."""

    url: str
    secrets: Sequence[str]
    retry_seconds: float = 5.0
    """The first pause after an answer that is not 2xx; each one after it is twice as long."""


@dataclass(kw_only=True, slots=True)
class Delivery:
    """An event to an endpoint, and the statuses with which that has answered so far."""

    event: Resource
    endpoint: WebhookEndpoint
    answers: list[int] = field(default_factory=list)

    @property
    def is_delivered(self) -> bool:
        return any(200 <= status < 300 for status in self.answers)

    def described(self) -> dict[str, Any]:
        event = self.event
        named = {"id": event["id"], "type": event["type"], "object": event["data"]["object"]["id"]}
        return named | {"answers": self.answers, "is_delivered": self.is_delivered}


class Webhooks:
    """The endpoints, and what was sent to them lately."""

    def __init__(self, faults: Faults, endpoints: Sequence[WebhookEndpoint]) -> None:
        self._faults = faults
        self._first_endpoints = endpoints
        self.endpoints = endpoints
        self._deliveries: deque[Delivery] = deque(maxlen=MOST_KEPT)
        self._sending: set[asyncio.Task[None]] = set()
        self._overtaken = asyncio.Event()

    def clear(self) -> None:
        """Send nothing more of what was, and go to the endpoints that were there at the start."""
        for task in self._sending:
            task.cancel()
        self._deliveries.clear()
        self.endpoints = self._first_endpoints

    def described(self) -> list[dict[str, Any]]:
        return [delivery.described() for delivery in self._deliveries]

    def tell(self, changes: list[Change]) -> None:
        """Send what has changed, each event by itself: nothing keeps them in their order."""
        events = [event for change in changes for event in events_of(change)]
        for event in events:
            for endpoint in self.endpoints:
                delivery = Delivery(event=event, endpoint=endpoint)
                self._deliveries.append(delivery)
                self._send_as_told(delivery)

    def send_again(self, event_id: str) -> bool:
        """Send an event once more, as somebody does in the dashboard; say whether it is known."""
        known = [each for each in self._deliveries if each.event["id"] == event_id]
        for delivery in known:
            self._start(delivery)
        return bool(known)

    def _send_as_told(self, delivery: Delivery) -> None:
        fired = self._faults.fire(ON_EVENT, "EVENT", delivery.event["type"], None)
        if FaultKind.EVENT_NEVER in fired:
            return
        self._start(delivery, fired)
        if FaultKind.EVENT_TWICE in fired:
            self._start(delivery, fired)

    def _start(self, delivery: Delivery, fired: dict[FaultKind, Fault] | None = None) -> None:
        task = asyncio.ensure_future(self._send(delivery, fired or {}))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, delivery: Delivery, fired: dict[FaultKind, Fault]) -> None:
        endpoint = delivery.endpoint
        if late := fired.get(FaultKind.EVENT_LATE):
            await asyncio.sleep(late.seconds)
        if overtaken := fired.get(FaultKind.EVENT_OUT_OF_ORDER):
            await self._let_another_pass(overtaken.seconds)
        is_forged = FaultKind.EVENT_FORGED in fired
        pause = endpoint.retry_seconds
        for _ in range(MOST_TRIES):
            secrets = ["whsec_of_somebody_else"] if is_forged else endpoint.secrets
            status = await post(endpoint.url, json.dumps(delivery.event).encode(), secrets)
            delivery.answers.append(status)
            if 200 <= status < 300:
                self._overtaken.set()
                return
            is_forged = False
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _let_another_pass(self, seconds: float) -> None:
        self._overtaken.clear()
        try:
            await asyncio.wait_for(self._overtaken.wait(), seconds)
        except TimeoutError:
            return


def signature_of(body: bytes, secrets: Sequence[str], at: int) -> str:
    """Return the header `Stripe-Signature`: one of `v1` for each secret."""
    signed = b"%d.%s" % (at, body)
    digests = (hmac.new(each.encode(), signed, hashlib.sha256).hexdigest() for each in secrets)
    return ",".join([f"t={at}", *(f"v1={digest}" for digest in digests)])


async def post(url: str, body: bytes, secrets: Sequence[str]) -> int:
    """Post an event and return the status of the answer, or `NOT_REACHED`."""
    parts = urlsplit(url)
    head = (
        f"POST {parts.path or '/'} HTTP/1.1\r\n"
        f"Host: {parts.netloc}\r\n"
        "User-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n"
        "Content-Type: application/json; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Stripe-Signature: {signature_of(body, secrets, int(CLOCK.now()))}\r\n"
        "Connection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(ANSWER_WITHIN_SECONDS):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
            try:
                writer.write(head.encode() + body)
                version, status = (await reader.readline()).split()[:2]
                return int(status) if version.startswith(b"HTTP/1.") else NOT_REACHED
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return NOT_REACHED
