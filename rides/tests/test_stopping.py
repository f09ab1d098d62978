"""SIGTERM to the API while it works: what is in hand is finished, and what must be abandoned is let
go, so that the client's retry goes on at once."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from idempotency.models import FINISHED
from rides.tests.booking import CHARGING, KEY, book, the_key
from rides.tests.processes import Api, running_api
from sandbox.stripe.control import StandIn
from sandbox.supervisor import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

WAITING_FOR_STRIPE = "ride_created"


@pytest.fixture
def client() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as client:
        yield client


@contextlib.contextmanager
def api_that_waits_for_stripe(
    stand_in: StandIn, folder: Path, client: ThreadPoolExecutor, *, seconds: float
) -> Iterator[tuple[Api, "Future[requests.Response]"]]:
    """An API in which a booking waits for Stripe, and what its client will get."""
    with running_api(stand_in, folder) as api:
        stand_in.add_fault("latency", seconds=seconds, path=CHARGING)
        answer = client.submit(book, api.url)
        wait_until(lambda: is_charging(KEY))
        yield api, answer


def is_charging(key: str) -> bool:
    with contextlib.suppress(Exception):
        return the_key(key).recovery_point == WAITING_FOR_STRIPE
    return False


def ask_to_stop(api: Api) -> None:
    os.kill(api.process.pid, signal.SIGTERM)


def seconds_until_it_ended(api: Api) -> float:
    began_at = time.monotonic()
    api.process.wait(PATIENCE_SECONDS)
    return time.monotonic() - began_at


def book_until_it_is_no_longer_under_way(url: str) -> list[int]:
    """Retry as the contract says, and return the status of each answer."""
    statuses = []
    while not statuses or statuses[-1] == 503:
        answer = book(url)
        statuses.append(answer.status_code)
        time.sleep(int(answer.headers.get("Retry-After", "0")))
    return statuses


def test_a_booking_in_hand_is_finished_and_no_new_one_is_taken(stand_in, tmp_path, client):
    with api_that_waits_for_stripe(stand_in, tmp_path, client, seconds=4) as (api, answer):
        ask_to_stop(api)
        wait_until(lambda: refuses_connections(api))

        assert not answer.done()
        assert answer.result().status_code == 201
        assert seconds_until_it_ended(api) < 3
    assert the_key().recovery_point == FINISHED
    assert len(stand_in.charges(status="succeeded")) == 1


def refuses_connections(api: Api) -> bool:
    try:
        requests.get(f"{api.url}/healthz", timeout=PATIENCE_SECONDS)
    except requests.ConnectionError:
        return True
    return False


def test_a_booking_that_takes_too_long_is_let_go_and_its_retry_goes_on_at_once(
    stand_in, tmp_path, client, monkeypatch
):
    monkeypatch.setenv("STOP_GRACE_SECONDS", "1")
    with api_that_waits_for_stripe(stand_in, tmp_path, client, seconds=6) as (api, answer):
        ask_to_stop(api)

        abandoned = answer.result()
        assert (abandoned.status_code, abandoned.json()["code"]) == (503, "stopping")
        assert abandoned.headers["Retry-After"] == "1"
        assert seconds_until_it_ended(api) < 3
    assert the_key().locked_at is None
    with running_api(stand_in, tmp_path) as successor:
        stand_in.clear_faults()
        statuses = book_until_it_is_no_longer_under_way(successor.url)
    assert statuses[-1] == 201
    assert 409 not in statuses
    assert len(stand_in.charges(status="succeeded")) == 1


def test_the_balancer_is_told_before_connections_are_refused(stand_in, tmp_path, monkeypatch):
    monkeypatch.setenv("STOP_NOTICE_SECONDS", "2")
    with running_api(stand_in, tmp_path) as api:
        assert requests.get(f"{api.url}/readyz", timeout=PATIENCE_SECONDS).status_code == 200
        ask_to_stop(api)
        wait_until(lambda: is_not_ready(api.url))

        assert requests.get(f"{api.url}/healthz", timeout=PATIENCE_SECONDS).status_code == 200
        assert book(api.url).status_code == 201
        assert seconds_until_it_ended(api) < 5


def is_not_ready(url: str) -> bool:
    answer = requests.get(f"{url}/readyz", timeout=PATIENCE_SECONDS)
    return answer.status_code == 503 and "asked to stop" in answer.text
