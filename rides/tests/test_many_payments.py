"""A rider with thousands of payments, as a travel agency has: each look-up ends."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from rides import payments
from rides.models import Ride
from rides.payments import charging
from rides.tests.factories import RideFactory
from sandbox.stripe.control import StandIn
from sandbox.stripe.ledger import Ledger, new_id
from sandbox.stripe.process import running_stand_in
from sandbox.stripe.store import open_store
from sandbox.supervisor import PATIENCE_SECONDS

pytestmark = pytest.mark.django_db

OTHERS = 3_000
LISTING = "GET /v1/payment_intents"


@pytest.fixture
def agencys(rider_with, tmp_path, settings) -> Iterator[tuple[Ride, Ride, StandIn]]:
    """A ride that was paid for, and one that Stripe never saw, before so many other payments."""
    with running_stand_in(tmp_path) as before:
        settings.STRIPE_API_BASE = before.base_url
        agency = rider_with("tok_visa")
        paid, unseen = RideFactory(user=agency), RideFactory(user=agency)
        payments.charge(paid)
    with closing(open_store(tmp_path)) as store:
        pay_again(Ledger(store), OTHERS)
    with running_stand_in(tmp_path) as now:
        settings.STRIPE_API_BASE = now.base_url
        yield paid, unseen, now


def pay_again(ledger: Ledger, times: int) -> None:
    [payment] = ledger.newest_first("payment_intent")
    [charge] = ledger.newest_first("charge")
    for _ in range(times):
        another, its_charge = new_id("pi"), new_id("ch")
        ledger.put(charge | {"id": its_charge, "payment_intent": another, "metadata": {}})
        ledger.put(payment | {"id": another, "latest_charge": its_charge, "metadata": {}})
    ledger.commit(None)


def test_a_payment_before_three_thousand_others_is_found_and_that_there_is_none_is_known(
    agencys, monkeypatch
):
    """Each page is asked for once: at 100 ms each it is done in a third of its time."""
    monkeypatch.setattr(charging, "LOOKUP_SECONDS", PATIENCE_SECONDS)
    paid, unseen, stripe = agencys

    assert isinstance(payments.find_charge(paid), payments.Charge)
    assert stripe.calls()["calls"][LISTING] == OTHERS // charging.PAGE + 1
    assert payments.find_charge(unseen) is None
    assert stripe.calls()["calls"][LISTING] == 2 * (OTHERS // charging.PAGE + 1)
