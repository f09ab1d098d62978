"""An order over HTTP: sent at once, and with its server killed by -9 in the middle of a call."""

import importlib.metadata
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import idempotency
import pytest
from django.core.management import call_command
from idempotency.testing.clock import let_time_pass, until_anybody_may_take_over
from idempotency.workers.completing import complete_due_keys

from shop.models import Order
from tests.processes import ask, wait_until

ORDER = {"book": "Emma", "copies": 2}
LONG = 60


@pytest.fixture
def order(server, headers):
    return lambda: ask(f"{server.url}/orders", "POST", ORDER, headers)


@pytest.fixture
def killed_when_paid(server, till, order):
    """The server was killed when the till had taken the money and had not answered yet."""
    till.is_slow(after=LONG)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(order)
        wait_until(till.payments)
        server.kill()
        with pytest.raises((OSError, HTTPException)):
            first.result()
    till.is_slow()
    server.start()


def test_the_app_is_the_installed_wheel():
    installed = importlib.metadata.distribution("django-idempotency")

    assert "archive_info" in (installed.read_text("direct_url.json") or "")
    assert Path(idempotency.__file__).is_relative_to(installed.locate_file(""))


def test_the_checks_find_nothing(transactional_db):
    call_command("check", databases=["default"], fail_level="WARNING")


def test_of_eight_at_once_one_pays_and_whoever_is_answered_is_told_the_same(order, till):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: order(), range(8)))

    assert {each.status for each in answers} <= {201, 409}
    assert len({each.text for each in answers if each.status == 201}) == 1
    assert till.payments() == ["payment-1"]


def test_a_duplicate_that_prefers_to_wait_gets_the_first_answer(order, headers, till):
    headers["Prefer"] = "wait=20"
    till.is_slow(after=1)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(order)
        wait_until(till.payments)
        duplicate = order()

    assert (duplicate.status, duplicate.text) == (201, first.result().text)
    assert duplicate.headers["Idempotent-Replayed"] == "true"


def test_a_server_that_was_killed_takes_the_money_once(order, till, killed_when_paid):
    refused = order()
    assert (refused.status, refused.body["code"]) == (409, "request_in_progress")
    assert int(refused.headers["Retry-After"]) > 60
    let_time_pass(until_anybody_may_take_over())

    first, again = order(), order()

    assert (first.status, first.body["payment"]) == (201, "payment-1")
    assert (again.text, again.headers["Idempotent-Replayed"]) == (first.text, "true")
    assert till.payments() == ["payment-1"]


def test_a_client_that_never_comes_back_has_its_order_all_the_same(till, killed_when_paid):
    let_time_pass(until_anybody_may_take_over())

    complete_due_keys(10)

    assert Order.objects.get().payment == "payment-1"
    assert till.payments() == ["payment-1"]
