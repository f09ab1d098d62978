"""`Prefer: wait`: a duplicate waits for the first's answer, and holds no connection meanwhile."""

import threading
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection, connections
from django.test import RequestFactory

from idempotency import stopping
from idempotency.http import waiting as waiting_module
from idempotency.http.waiting import seconds_to_wait
from idempotency.tests.bookshop import PlaceOrder
from idempotency.tests.ledger import Fault

PATIENCE_SECONDS = 20

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def held(customer, key, ledger, elsewhere):
    """A request whose payment is made and is not answered before `go_on` is set."""
    paid, go_on = threading.Event(), threading.Event()

    def hold():
        paid.set()
        assert go_on.wait(20)

    def begin():
        ledger.meanwhile(hold)
        first = elsewhere(customer.send, key)
        assert paid.wait(20)
        return first

    begin.go_on = go_on
    yield begin
    go_on.set()


def wait_until(condition):
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def send(customer, key, prefer="wait=20"):
    return customer.post(customer.order, key, HTTP_PREFER=prefer)


def test_it_gets_the_firsts_answer(held, customer, key, ledger, elsewhere):
    first = held()
    duplicate = elsewhere(send, customer, key)
    held.go_on.set()

    assert duplicate.result().content == first.result().content
    assert duplicate.result().headers["Idempotent-Replayed"] == "true"
    assert len(ledger.payments) == 1


def test_a_call_for_a_request_waits_as_the_view_does(held, customer, key, ledger, elsewhere):
    request = RequestFactory().post("/orders", headers={"Prefer": "wait=20"})
    first = held()
    duplicate = elsewhere(
        lambda: PlaceOrder.call(user=customer.user, key=key, params=customer.order, request=request)
    )
    wait_until(lambda: waiting_module._waiting)
    held.go_on.set()

    assert duplicate.result().content == first.result().content
    assert len(ledger.payments) == 1


def test_without_the_preference_it_is_refused_at_once(held, customer, key):
    held()

    assert customer.send(key).json()["code"] == "request_in_progress"


def test_what_takes_longer_is_refused_in_the_end(held, customer, key):
    held()

    assert send(customer, key, "wait=0").status_code == 409
    refused = send(customer, key, "wait=1")
    assert (refused.status_code, refused.json()["code"]) == (409, "request_in_progress")


def test_it_waits_without_a_connection(held, customer, key, elsewhere, monkeypatch):
    counts = []
    sleep = threading.Event()

    def look(_: float) -> None:
        counts.append(connection.connection)
        sleep.wait(0.01)
        held.go_on.set()

    monkeypatch.setattr("idempotency.http.waiting.time.sleep", look)
    held()

    assert elsewhere(send, customer, key).result().status_code == 201
    assert counts
    assert set(counts) == {None}


def test_it_waits_without_a_connection_to_another_database_of_the_project(
    held, customer, key, elsewhere, monkeypatch
):
    closed = []

    def send_after_a_look_elsewhere():
        other = connections["other"] = connection.copy("other")
        other.connect()
        answer = send(customer, key)
        closed.append(other.connection is None)
        return answer

    def opened(**_):
        own = connections._connections  # this thread's
        return [getattr(own, name) for name in ("default", "other") if hasattr(own, name)]

    held()
    monkeypatch.setattr("idempotency.http.waiting.time.sleep", lambda _: held.go_on.wait(0.01))
    with monkeypatch.context() as patched:
        patched.setattr(connections, "all", opened)
        duplicate = elsewhere(send_after_a_look_elsewhere)
        wait_until(lambda: waiting_module._waiting)
        held.go_on.set()
        assert duplicate.result().status_code == 201

    assert closed == [True]


def test_where_the_first_fails_the_one_that_waited_goes_on(held, customer, key, ledger, elsewhere):
    ledger.faults = [Fault.ERROR_AFTER]
    first = held()
    duplicate = elsewhere(send, customer, key)
    held.go_on.set()

    assert first.result().status_code == 503
    assert duplicate.result().status_code == 201
    assert len(ledger.payments) == 1


def test_of_one_user_one_waits_and_who_finds_no_place_is_refused_at_once(
    held, customer, key, elsewhere
):
    first = held()
    waiting = elsewhere(send, customer, key)
    wait_until(lambda: waiting_module._waiting)

    assert send(customer, key).status_code == 409

    held.go_on.set()
    assert waiting.result().status_code == first.result().status_code == 201
    assert not waiting_module._waiting


def test_there_are_so_many_places_in_a_process(settings):
    settings.IDEMPOTENCY |= {"WAIT_PLACES": 2}
    one, two, three = (SimpleNamespace(pk=pk) for pk in (1, 2, 3))

    with (
        waiting_module._place_of(one) as first,
        waiting_module._place_of(one) as again,
        waiting_module._place_of(two) as second,
        waiting_module._place_of(three) as third,
    ):
        assert (first, again, second, third) == (True, False, True, False)
    with waiting_module._place_of(three) as free:
        assert free


def test_a_process_that_is_asked_to_stop_lets_nobody_wait(held, customer, key, monkeypatch):
    held()
    stopping.begin()
    try:
        assert send(customer, key).status_code == 409
    finally:
        stopping.forget()


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 2),
        ("wait=5", 5),
        ("respond-async, wait=5", 5),
        ('Wait = "7"; foo=bar', 7),
        ("wait=99999", 30),
        ("wait=-1", 2),
        ("wait=soon", 2),
        ("await=5", 2),
        ("return=minimal", 2),
    ],
)
def test_how_long_is_read_from_the_head_within_the_limit(settings, prefer, seconds):
    settings.IDEMPOTENCY |= {"WAIT_DEFAULT": timedelta(seconds=2)}
    heads = {"HTTP_PREFER": prefer} if prefer else {}

    assert seconds_to_wait(RequestFactory().post("/", **heads)) == seconds
