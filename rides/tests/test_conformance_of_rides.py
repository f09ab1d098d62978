"""The conformance tool, run against this service as against any other: all is held."""

import pytest

from idempotency.conformance.asking import Api
from idempotency.conformance.reports import ask_all
from rides.apikeys.keys import issue_key
from rides.tests.booking import COORDINATES
from rides.tests.factories import RiderFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]


def test_this_service_conforms_in_every_question(live_server, rider, stand_in):
    _, key = issue_key(rider, "the tool")
    _, others = issue_key(RiderFactory(stripe_customer_id="cus_another"), "the tool")
    degrees = {name: float(value) for name, value in COORDINATES.items()}

    findings = ask_all(
        Api(
            f"{live_server.url}/rides",
            degrees,
            {"origin_lat": 1.0},
            {"Authorization": f"Bearer {key}"},
            {"Authorization": f"Bearer {others}"},
            counted_at=f"{live_server.url}/rides?limit=100",
        )
    )

    assert [(each.name, each.remark) for each in findings if each.result != "held"] == []
