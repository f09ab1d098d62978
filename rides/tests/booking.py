"""How tests book a ride and look at what came of it: the request, the commands, the rows.

Apart from the processes, because a request is the same to whichever server it goes.
"""

import io
from typing import Any
from urllib.parse import urlencode

import requests
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.test import Client

from idempotency.foreign_keys import phase_key
from idempotency.models import IdempotencyKey
from idempotency.testing.experiments import HttpAnswer
from rides.operations import CreateRide
from sandbox.supervisor import PATIENCE_SECONDS

RIDER = "user@example.com"
RIDER_WITH_BAD_CARD = "user-bad-source@example.com"

KEY = "a-key-that-is-long-enough"
COORDINATES = {
    "origin_lat": "37.7793",
    "origin_lon": "-122.4193",
    "target_lat": "34.0522",
    "target_lon": "-118.2437",
}
CHARGING = "POST /v1/payment_intents"  # what a fault of the stand-in is to strike
BOOKED = {"message": "Payment accepted. Your pilot is on their way!"}

FORM = "application/x-www-form-urlencoded"

Row = dict[str, Any]


def book(url: str, key: str = KEY, *, rider: str = RIDER, **fields: str) -> requests.Response:
    """Send `POST /rides` as the original's clients do; `fields` add to or replace the form's."""
    return requests.post(
        f"{url}/rides",
        data=COORDINATES | fields,
        headers={"Authorization": rider, "Idempotency-Key": key},
        timeout=PATIENCE_SECONDS,
    )


def ask(
    key: str = KEY, *, rider: str = RIDER, client: Client | None = None, **fields: str
) -> HttpAnswer:
    """Send the same request in this process, to no server."""
    headers = {"Authorization": rider, "Idempotency-Key": key}
    body = urlencode(COORDINATES | fields)
    return (client or Client()).post("/rides", body, FORM, headers=headers)


def fail_midway(url: str, key: str = KEY) -> requests.Response:
    """Leave a key at `ride_created`, let go, its ride not paid for."""
    answer = book(url, key, raise_error="true")
    assert answer.status_code == 500
    return answer


def run(*command: str) -> str:
    """Run one of `manage.py`'s commands, in this process, and return what it prints."""
    output = io.StringIO()
    call_command(*command, stdout=output)
    return output.getvalue().strip()


def the_key(key: str = KEY) -> IdempotencyKey:
    return IdempotencyKey.objects.get(idempotency_key=key)


def charging_key(key: IdempotencyKey) -> str:
    """What the request's charge is sent under."""
    return str(phase_key(key.foreign_key, CreateRide.charge_rider))


def every_row() -> dict[str, list[Row]]:
    """All that is in the database, by table."""
    return {
        model._meta.db_table: list(model._base_manager.order_by("pk").values())
        for model in apps.get_models(include_auto_created=True)
    }


def lock(key: IdempotencyKey, *, seconds_ago: int) -> None:
    """Have another process hold the key's lease since then."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE idempotency_idempotencykey"
            " SET locked_at = statement_timestamp() - %s * INTERVAL '1 second' WHERE id = %s",
            [seconds_ago, key.pk],
        )
