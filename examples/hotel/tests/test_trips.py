"""A trip over HTTP: booked once, given back whole, and gone on with after a kill -9."""

import importlib.metadata
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.client import HTTPException
from io import StringIO
from pathlib import Path

import idempotency
import pytest
from django.core.management import call_command
from django.utils import timezone
from idempotency.models import IdempotencyKey
from idempotency.testing.clock import let_time_pass, until_anybody_may_take_over
from idempotency.workers.completing import complete_due_keys

from hotel.models import Trip, Wish
from tests.processes import ask, wait_until

TRIP = {"room": "Garden", "flight": "AB100"}
LONG = 60


@pytest.fixture
def book(server, headers):
    def book(**changes):
        return ask(f"{server.url}/trips", "POST", {**TRIP, **changes}, headers)

    return book


@pytest.fixture
def killed_in_a_call(server, partners, book):
    """Kill the server while it waits for a slow partner, as soon as something has happened."""

    def killed_in_a_call(has_happened, **slow):
        partners.are_slow(**slow)
        with ThreadPoolExecutor() as pool:
            first = pool.submit(book)
            wait_until(has_happened)
            server.kill()
            with pytest.raises((OSError, HTTPException)):
                first.result()
        partners.are_slow()
        server.start()

    return killed_in_a_call


def test_the_app_is_the_installed_wheel():
    installed = importlib.metadata.distribution("django-idempotency")

    assert "archive_info" in (installed.read_text("direct_url.json") or "")
    assert Path(idempotency.__file__).is_relative_to(installed.locate_file(""))


def test_the_checks_find_nothing(transactional_db):
    call_command("check", databases=["default"], fail_level="WARNING")


def test_a_retry_gets_the_first_answer_and_books_nothing_more(book, partners):
    first, again = book(), book()

    assert (first.status, again.status) == (201, 201)
    assert first.text == again.text
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (partners.booked(), partners.sold()) == (["room-1"], ["ticket-1"])


def test_without_a_flight_the_room_is_given_back_and_the_no_is_kept(book, partners):
    first, again = book(flight="FULL1"), book(flight="FULL1")

    assert (first.status, first.body["code"]) == (409, "cancelled")
    assert first.text == again.text
    assert (partners.booked(), partners.sold()) == ([], [])
    assert Trip.objects.get().status == "cancelled"


def test_without_a_room_no_flight_is_asked_for(book, partners):
    assert book(room="Attic").body["code"] == "no_room"
    assert (partners.booked(), partners.sold()) == ([], [])


def test_killed_while_the_room_is_booked_it_is_booked_once(book, partners, killed_in_a_call):
    killed_in_a_call(partners.booked, rooms={"after": LONG})
    assert book().body["code"] == "request_in_progress"
    let_time_pass(until_anybody_may_take_over())

    assert book().status == 201
    assert (partners.booked(), partners.sold()) == (["room-1"], ["ticket-1"])


def test_killed_while_the_ticket_is_sold_it_is_found_and_no_second_is_bought(
    book, partners, killed_in_a_call
):
    killed_in_a_call(partners.sold, flights={"after": LONG})
    let_time_pass(until_anybody_may_take_over())

    assert book().status == 201
    assert (partners.booked(), partners.sold()) == (["room-1"], ["ticket-1"])


def test_an_order_that_is_still_on_its_way_is_waited_for_and_not_sent_again(
    book, partners, killed_in_a_call
):
    killed_in_a_call(partners.ordered, flights={"before": 2})
    let_time_pass(until_anybody_may_take_over())

    meanwhile = book()
    assert (meanwhile.status, meanwhile.headers["Retry-After"]) == (202, "30")
    wait_until(partners.sold)
    let_time_pass(timedelta(seconds=30))

    assert book().status == 201
    assert (partners.ordered(), partners.sold()) == (1, ["ticket-1"])


def test_an_order_that_comes_too_late_buys_nothing(book, partners, killed_in_a_call):
    killed_in_a_call(partners.ordered, flights={"before": 3})
    let_time_pass(until_anybody_may_take_over())
    assert book().status == 202
    let_time_pass(timedelta(minutes=5))

    assert book().body["code"] == "cancelled"
    assert (partners.booked(), partners.sold()) == ([], [])


def test_a_client_that_never_comes_back_has_its_trip_all_the_same(partners, killed_in_a_call):
    killed_in_a_call(partners.booked, rooms={"after": LONG})
    let_time_pass(until_anybody_may_take_over())

    complete_due_keys(10)

    assert Trip.objects.get().status == "booked"
    assert (partners.booked(), partners.sold()) == (["room-1"], ["ticket-1"])


def test_a_person_who_undoes_a_trip_gives_all_of_it_back(book, partners, killed_in_a_call):
    killed_in_a_call(partners.sold, flights={"after": LONG})
    IdempotencyKey.objects.update(needs_review_at=timezone.now(), locked_at=None)

    call_command("review", "undo", "--all", "--reason=The guest has called.", stdout=StringIO())

    assert (partners.booked(), partners.sold()) == ([], [])
    assert book().body["code"] == "cancelled"


def test_a_wish_is_written_once(server, headers):
    first, again = (ask(f"{server.url}/wishes", "POST", "text=tea", headers) for _ in "12")

    assert (first.status, first.body) == (201, {"wishes": 1})
    assert (again.text, again.headers["Idempotent-Replayed"]) == (first.text, "true")
    assert Wish.objects.count() == 1
