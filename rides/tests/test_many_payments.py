"""A rider with thousands of payments, as a travel agency has, or with such as hardly fit into an
answer: each look-up ends.
"""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace

import pytest

from idempotency.exceptions import Indeterminate
from rides import payments
from rides.models import Ride
from rides.payments import asking, charging
from rides.payments.client import client
from rides.payments.transport import MAX_ANSWER_BYTES
from rides.tests.answering import answering_with, saying
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


@pytest.mark.timeout(300)
def test_a_payment_before_three_thousand_others_is_found_and_that_there_is_none_is_known(
    agencys, monkeypatch
):
    """Each page is asked for once: at 100 ms each it is done in a third of its time."""
    monkeypatch.setattr(charging, "LOOKUP_SECONDS", 5 * PATIENCE_SECONDS)
    paid, unseen, stripe = agencys

    assert isinstance(payments.find_charge(paid), payments.Charge)
    assert stripe.calls()["calls"][LISTING] == OTHERS // charging.PAGE + 1
    assert payments.find_charge(unseen) is None
    assert stripe.calls()["calls"][LISTING] == 2 * (OTHERS // charging.PAGE + 1)


# Payments of an application that keeps much with each: a page of them is more than is read.


@pytest.fixture
def verbose(rider) -> Ride:
    """A ride that was paid for a day ago, whose rider has paid for much else since."""
    ride = RideFactory(user=rider)
    payments.charge(ride)
    much = {f"note-{number}": "x" * 480 for number in range(45)}
    wanted = {"amount": 700, "currency": "eur", "customer": str(rider.stripe_customer_id)}
    for _ in range(30):
        client().v1.payment_intents.create(
            {**wanted, "confirm": True, "off_session": True, "metadata": much}
        )
    return ride


def test_of_payments_that_fill_more_than_an_answer_fewer_are_asked_for(verbose, stand_in):
    assert isinstance(payments.find_charge(verbose), payments.Charge)

    assert stand_in.calls()["calls"][LISTING] == 1 + 4  # of 31, ten each


def test_the_payments_from_the_time_of_the_sending_come_first_on_small_pages_too(
    verbose, stand_in, monkeypatch
):
    stand_in.let_time_pass(24 * 3600)
    verbose.idempotency_key.foreign_sent_at = verbose.created_at - timedelta(days=1)
    spans: list[dict[str, int]] = []
    listed = charging.pages

    def noted(*of, **what):
        spans.append(what["created"])
        return listed(*of, **what)

    monkeypatch.setattr(charging, "pages", noted)

    assert isinstance(payments.find_charge(verbose), payments.Charge)
    assert len(spans) == 1 + 4


@pytest.fixture
def sizes(settings) -> Iterator[list[str]]:
    """How many objects each call asks for, of something that always answers too much."""
    asked: list[str] = []
    too_much = saying(200, b" " * (MAX_ANSWER_BYTES + 1))

    def note_and_say(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path.partition("limit=")[2].partition("&")[0])
        too_much(request)

    with answering_with(note_and_say) as settings.STRIPE_API_BASE:
        yield asked


def test_where_one_object_alone_is_too_large_nothing_is_known(sizes):
    with pytest.raises(Indeterminate, match="connection failed"):
        list(asking.pages(client().v1.payment_intents.list, limit=100))

    assert sizes == ["100", "10", "1"]


def test_no_smaller_page_is_asked_for_once_the_time_is_up(sizes, monkeypatch):
    clock = iter([0, 2])
    monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=lambda: next(clock)))

    with pytest.raises(asking.TooManyToLookThrough):
        list(asking.pages(client().v1.payment_intents.list, limit=100, until=1))

    assert sizes == ["100"]
