"""Who may do what: all of `rights.TABLE`, and what is in no row of it.

An address that is new fails here until it has its rows.
"""

import pytest
from django.test import Client
from django.urls import resolve

from rides.models import User
from rides.tests.booking import KEY, every_row
from rides.tests.factories import RideFactory
from rides.tests.processes import WEBHOOK_SECRET
from rides.tests.rights import CREDENTIALS, METHODS, METRICS_TOKEN, Row, patterns, rows
from sandbox.stripe.control import StandIn

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def production(settings, stand_in: StandIn) -> None:
    settings.DEMO_AUTH = False
    settings.STRIPE_WEBHOOK_SECRETS = [WEBHOOK_SECRET]
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "METRICS_TOKEN": METRICS_TOKEN}


def test_each_address_of_the_api_has_its_rows():
    a_ride = "5f3f1c1e-2f43-4c1d-9a55-0d7d3d3cf1a2"
    with_rows = {resolve(row.address.replace("RIDE", a_ride)).func for row in rows()}

    assert not [
        written
        for written, pattern in patterns()
        if not written.startswith("admin") and pattern.callback not in with_rows
    ]


@pytest.mark.parametrize("row", [*rows()], ids=str)
def test_an_address_of_the_api_is_opened_by_what_opens_it(row: Row, rider: User):
    RideFactory(user=rider, idempotency_key__idempotency_key=KEY)
    credential, told = CREDENTIALS[row.who](rider), []
    before = every_row()

    for method in METHODS:
        body = row.body()
        client = Client(enforce_csrf_checks=True)
        headers = row.headers(credential, body)
        answer = client.generic(method, row.path(), body, "application/json", headers=headers)
        told.append(answer.status_code)
        if answer.status_code >= 400 and row.is_told_in_json:
            assert answer.headers["Content-Type"] == "application/json"

    assert tuple(told) == row.statuses
    assert not row.changes_nothing or every_row() == before
