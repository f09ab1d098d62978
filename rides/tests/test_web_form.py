"""Beyond APIs: a web form with a hidden idempotency key, in whose page Submit books once."""

import contextlib
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import requests
from django.db import connection
from django.test import Client

from idempotency.testing.clock import let_time_pass
from idempotency.tests.sessions import backend_pid
from rides.models import Ride
from rides.pages import PLACES, RIDERS
from rides.tests.booking import CHARGING, KEY, run

pytestmark = pytest.mark.django_db(transaction=True)


class Browser:
    """A person with the form open: the page's own hidden fields are sent back with it."""

    def __init__(self, url):
        self.session = requests.Session()
        self.url = f"{url}/"
        page = self.session.get(self.url, timeout=10)
        assert page.status_code == 200
        self.fields = dict(re.findall(r'<input[^>]* name="(\w+)" value="([^"]*)"', page.text))
        self.fields["rider"] = "user@example.com"

    def submit(self, **changed):
        return self.session.post(self.url, data={**self.fields, **changed}, timeout=30)


@pytest.fixture
def browser(api, riders):
    return Browser(api.url)


def test_submitting_the_form_books_a_ride(browser, stand_in):
    page = browser.submit()

    assert page.status_code == 201
    assert "Your pilot is on their way!" in page.text
    assert (Ride.objects.count(), len(stand_in.charges("succeeded"))) == (1, 1)


def test_a_form_that_is_asked_for_again_at_its_address_keeps_its_key(api):
    first = requests.get(f"{api.url}/", timeout=10)
    again = requests.get(first.url, timeout=10)
    another = requests.get(f"{api.url}/", timeout=10)

    key = re.compile(r'name="idempotency_key" value="([^"]+)"')
    keys = [key.search(page.text)[1] for page in (first, again, another)]
    assert keys[0] == keys[1] != keys[2]


def test_pressing_submit_twice_books_once(browser, stand_in):
    stand_in.add_fault("latency", seconds=0.3, path=CHARGING)
    with ThreadPoolExecutor(2) as finger:
        pages = list(finger.map(lambda _: browser.submit(), range(2)))

    assert sorted(page.status_code for page in pages) == [201, 409]
    again = browser.submit()
    assert again.status_code == 201
    assert "It was booked once" in again.text
    assert (Ride.objects.count(), len(stand_in.charges("succeeded"))) == (1, 1)


@pytest.mark.usefixtures("own_session", "riders")
def test_a_form_that_meets_a_connection_that_has_ended_books_all_the_same(settings):
    settings.DEMO_AUTH = True
    fields = {**PLACES, "rider": RIDERS[0], "idempotency_key": KEY}
    with contextlib.closing(connection.copy()) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [backend_pid()])

    assert Client().post("/", fields).status_code == 201


def test_a_failed_request_offers_to_be_sent_again_and_goes_on(browser, stand_in):
    page = browser.submit(raise_error="true")
    assert page.status_code == 500
    assert "Send the same request again" in page.text

    assert browser.submit().status_code == 201
    assert (Ride.objects.count(), len(stand_in.charges("succeeded"))) == (1, 1)


def test_a_form_whose_person_left_is_finished_by_the_completer(browser, stand_in):
    browser.submit(raise_error="true")
    let_time_pass(timedelta(minutes=6))

    assert run("completer", "--once") == "succeeded=1 failed=0"
    assert len(stand_in.charges("succeeded")) == 1


def test_a_declined_card_is_said_on_the_page(browser):
    page = browser.submit(rider="user-bad-source@example.com")

    assert page.status_code == 402
    assert "Your card was declined." in page.text
    assert "Send the same request again" not in page.text


@pytest.mark.parametrize(
    ("changed", "status", "reason"),
    [
        ({"origin_lat": "91"}, 422, "origin_lat: must be between -90 and 90."),
        ({"idempotency_key": ""}, 400, "Idempotency-Key"),
        ({"rider": "nobody@example.com"}, 401, "This rider is not known."),
        ({"rider": "\x00"}, 401, "This rider is not known."),
    ],
)
def test_bad_input_is_named_and_books_nothing(browser, changed, status, reason):
    page = browser.submit(**changed)

    assert (page.status_code, Ride.objects.count()) == (status, 0)
    assert reason in page.text


def test_without_the_demos_credential_there_is_no_form(client, settings):
    settings.DEMO_AUTH = False

    assert client.get("/").status_code == 404


def test_a_rider_whose_bank_asks_is_led_there_and_back(browser, stand_in):
    page = browser.submit(rider="user-3ds@example.com")
    assert page.status_code == 202
    assert "Your bank asks you to confirm this payment." in page.text
    [bank] = re.findall(r'<a href="([^"]+)" target="_blank"', page.text)

    requests.post(bank, {"decision": "confirm"}, timeout=10, allow_redirects=False)
    let_time_pass(timedelta(minutes=1))

    page = browser.submit(rider="user-3ds@example.com")
    assert page.status_code == 201
    assert (Ride.objects.count(), len(stand_in.charges("succeeded"))) == (1, 1)
