"""How tests receive events of the stand-in, or send such as they sign themselves."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any

import stripe
from django.test import Client

from idempotency.testing.clock import let_deliveries_age
from idempotency.testing.queue import JobsRun, run_queued_jobs
from idempotency.workers.soon import LOOK_AGAIN_IN
from rides.models import Ride
from rides.payments.keys import marks_of
from rides.tests.booking import run
from rides.tests.processes import WEBHOOK_SECRET
from sandbox.stripe.control import StandIn
from sandbox.supervisor import wait_until

WEBHOOK = "/stripe/webhook"

_numbers = count(1)


def all_delivered(stand_in: StandIn, type_: str = "") -> list[dict[str, Any]]:
    """Wait until each event whose type begins so was answered with 2xx; return them."""

    def are_delivered() -> bool:
        events = stand_in.events(type_)
        return bool(events) and all(event["is_delivered"] for event in events)

    wait_until(are_delivered)
    return stand_in.events(type_)


def run_jobs() -> JobsRun:
    """Hand over and run what is owed, what is to wait for a second too."""
    let_deliveries_age(LOOK_AGAIN_IN)
    run("enqueuer", "--once")
    return run_queued_jobs(100)


def event(type_: str, about: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An event as Stripe writes it, with an id of its own."""
    usual = {"id": f"evt_{next(_numbers)}", "object": "event", "type": type_}
    return {**usual, "data": {"object": about}, **fields}


def about_payment(ride: Ride, **fields: Any) -> dict[str, Any]:
    return {"id": "pi_1", "object": "payment_intent", "metadata": marks_of(ride), **fields}


def signature_for(
    body: bytes, secret: str = WEBHOOK_SECRET, *, age: timedelta | None = None
) -> str:
    signed_at = int(time.time() - (age or timedelta(0)).total_seconds())
    generate: Callable[..., str] = stripe.WebhookSignature.generate_signature_header
    return generate(body.decode(), secret, signed_at)


def send(told: Any, *, client: Client | None = None, signature: str | None = None) -> Any:
    """Post an event in this process, signed unless the test says otherwise."""
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    headers = {"Stripe-Signature": signature_for(body) if signature is None else signature}
    return (client or Client()).post(WEBHOOK, body, "application/json", headers=headers)
