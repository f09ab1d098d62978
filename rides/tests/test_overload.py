"""More requests than the API can serve: those it takes are served in time, the others told at once.

Stripe's latency and the number of threads make the capacity here, so that what is measured does not
hang on who else uses the processors.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from bench.rate import send_at_rate, served_within
from idempotency.models import IdempotencyKey
from rides.tests.booking import CHARGING, KEY, RIDER, RIDER_WITH_BAD_CARD, book
from rides.tests.processes import GRANIAN, Api, running_api
from rides.tests.sockets import connect, memory_mb
from sandbox.stripe.control import StandIn
from sandbox.supervisor import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

ONE_PROCESS = GRANIAN.replace("--workers 2", "--workers 1")
STRIPE_SECONDS = 0.2
THREADS = 4
OVERLOAD_SECONDS = 6
TO_SETTLE_SECONDS = 2
USUAL_SECONDS = 4 * STRIPE_SECONDS


@pytest.fixture
def small_api(stand_in: StandIn, tmp_path: Path, monkeypatch) -> Iterator[Api]:
    """One process that works on four requests at a time."""
    monkeypatch.setenv("API_THREADS", str(THREADS))
    with running_api(stand_in, tmp_path, ONE_PROCESS) as api:
        stand_in.add_fault("latency", seconds=STRIPE_SECONDS, path=CHARGING)
        yield api


def capacity_of(api: Api, seconds: float = 3) -> float:
    """Rides a second, with as many clients as it serves at a time."""
    booked, end = [], time.monotonic() + seconds

    def book_on(_: int) -> None:
        while time.monotonic() < end:
            booked.append(book(api.url, str(uuid4())).status_code)

    with ThreadPoolExecutor(THREADS) as clients:
        list(clients.map(book_on, range(THREADS)))
    assert set(booked) == {201}
    return len(booked) / seconds


def test_at_three_times_its_capacity_it_serves_what_it_can_and_then_recovers(small_api):
    capacity = capacity_of(small_api)
    before = memory_mb(small_api)
    with healthy_meanwhile(small_api):
        tries = send_at_rate(
            small_api.url, rate=3 * capacity, seconds=OVERLOAD_SECONDS, rider=lambda n: RIDER
        )

    statuses = {each.status for each in tries}
    assert statuses <= {201, 409, 503}, "nobody is left without an answer"
    served = served_within(tries, 2, TO_SETTLE_SECONDS, OVERLOAD_SECONDS)
    assert served >= 0.8 * capacity, f"{served:.0f} of {capacity:.0f} a second"
    assert memory_mb(small_api) < 1.5 * before

    after = send_at_rate(small_api.url, rate=capacity / 3, seconds=2, rider=lambda n: RIDER)
    assert {each.status for each in after} == {201}
    assert max(each.seconds for each in after) < USUAL_SECONDS


class healthy_meanwhile:  # noqa: N801 - read as a sentence
    """Asks whether the API is alive, all the time, and wants every answer to be a yes."""

    def __init__(self, api: Api) -> None:
        self.url = f"{api.url}/healthz"
        self.over = threading.Event()
        self.statuses: list[int] = []
        self.thread = threading.Thread(target=self.ask)

    def ask(self) -> None:
        while not self.over.wait(0.2):
            answer = requests.get(self.url, timeout=PATIENCE_SECONDS)
            self.statuses.append(answer.status_code)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        assert set(self.statuses) == {200}


def test_a_refusal_says_when_to_come_back(stand_in, tmp_path, monkeypatch):
    monkeypatch.setenv("API_THREADS", "1")
    monkeypatch.setenv("API_QUEUE", "0")
    with running_api(stand_in, tmp_path, ONE_PROCESS) as api, ThreadPoolExecutor(1) as client:
        stand_in.add_fault("latency", seconds=1, path=CHARGING)
        first = client.submit(book, api.url)
        wait_until(lambda: IdempotencyKey.objects.exists())

        refused = book(api.url, "another-key-of-this-rider")

        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert (refused.headers["Retry-After"], refused.json()["retryable"]) == ("1", True)
        assert first.result().status_code == 201
        assert IdempotencyKey.objects.count() == 1


def test_a_retry_whose_first_is_worked_on_gets_its_409_from_memory_and_others_do_not(
    small_api, stand_in
):
    stand_in.clear_faults()
    stand_in.add_fault("latency", seconds=2, path=CHARGING)
    with ThreadPoolExecutor(1) as client:
        first = client.submit(book, small_api.url)
        wait_until(lambda: IdempotencyKey.objects.exists())

        # The database would say how long its lease lasts.
        wait_until(lambda: book(small_api.url).headers.get("Retry-After") == "1")
        retry = book(small_api.url)
        other_rider = book(small_api.url, rider=RIDER_WITH_BAD_CARD)

        assert (retry.status_code, retry.json()["code"]) == (409, "request_in_progress")
        assert other_rider.status_code == 402
        assert first.result().status_code == 201


def test_replays_that_wait_long_beside_each_other_get_the_answer_all_of_them(
    stand_in, tmp_path, monkeypatch
):
    monkeypatch.setenv("API_THREADS", "1")
    monkeypatch.setenv("API_QUEUE_SECONDS", "10")
    with running_api(stand_in, tmp_path, ONE_PROCESS) as api, ThreadPoolExecutor(9) as clients:
        assert book(api.url).status_code == 201
        stand_in.add_fault("latency", times=1, seconds=1, path=CHARGING)
        before_them = clients.submit(book, api.url, "the-key-that-has-the-only-thread")
        wait_until(lambda: IdempotencyKey.objects.count() == 2)

        first = clients.submit(book, api.url)
        time.sleep(0.3)
        others = list(clients.map(lambda _: book(api.url), range(7)))

        assert {replay.status_code for replay in [first.result(), *others]} == {201}
        assert before_them.result().status_code == 201


def test_a_client_that_hung_up_before_its_turn_is_dropped(stand_in, tmp_path, monkeypatch):
    monkeypatch.setenv("API_THREADS", "1")
    monkeypatch.setenv("API_QUEUE_SECONDS", "10")
    with running_api(stand_in, tmp_path, ONE_PROCESS) as api, ThreadPoolExecutor(1) as client:
        stand_in.add_fault("latency", times=1, seconds=2, path=CHARGING)
        first = client.submit(book, api.url)
        wait_until(lambda: IdempotencyKey.objects.exists())
        with connect(api) as impatient:
            impatient.sendall(a_booking("the-key-of-an-impatient-client"))
            time.sleep(0.3)
        assert not first.done()

        assert book(api.url, "the-key-of-the-next-client").status_code == 201

        assert first.result().status_code == 201
        keys = set(IdempotencyKey.objects.values_list("idempotency_key", flat=True))
        assert keys == {KEY, "the-key-of-the-next-client"}


def a_booking(key: str) -> bytes:
    body = "origin_lat=0&origin_lon=0&target_lat=0&target_lon=0"
    return (
        f"POST /rides HTTP/1.1\r\nHost: localhost\r\nAuthorization: {RIDER}\r\n"
        f"Idempotency-Key: {key}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
