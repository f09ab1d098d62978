"""The API behind HAProxy, as production has it (`deploy/haproxy.cfg`)."""

import json
import socket
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

import pytest
import requests

from idempotency.models import IdempotencyKey
from rides.tests.balancing import PROGRAM, balancer
from rides.tests.booking import BOOKED, COORDINATES, KEY, RIDER, book, the_key
from rides.tests.processes import Api
from rides.tests.sockets import SIX_BYTES, head
from sandbox.supervisor import PATIENCE_SECONDS, free_port, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("riders"),
    pytest.mark.skipif(not PROGRAM, reason="NOT TESTED: there is no haproxy; `make haproxy`"),
]

A_SECOND_FOR_A_BODY = {"wait-for-body time 10s": "wait-for-body time 1s"}
BODY_SECONDS = 10  # of the API
CLIENT, FORGED = "127.0.0.2", "198.51.100.9"


@pytest.fixture
def url(behind: Api, tmp_path: Path) -> Iterator[str]:
    """The balancer, with that instance and one that is not there."""
    with balancer(tmp_path, (behind.port, free_port()), A_SECOND_FOR_A_BODY) as url:
        wait_until(lambda: book(url, "a-key-to-see-that-it-answers").status_code == 201)
        yield url


def test_a_booking_goes_through_and_is_replayed(url):
    assert book(url).json() == BOOKED
    assert book(url).headers["Idempotent-Replayed"] == "true"


def test_the_origin_is_what_the_balancer_saw_and_not_what_the_client_says(url):
    port = int(url.rpartition(":")[2])
    body = "&".join(f"{name}={value}" for name, value in COORDINATES.items())
    lines = [
        "POST /rides HTTP/1.1",
        *("Host: localhost", "Connection: close", f"Authorization: {RIDER}"),
        *(f"Idempotency-Key: {KEY}", f"X-Forwarded-For: {FORGED}"),
        *("Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"),
    ]
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS, (CLIENT, 0)) as client:
        client.sendall("\r\n".join([*lines, "", body]).encode())
        answer = HTTPResponse(client)
        answer.begin()

    assert answer.status == 201
    assert the_key().origin_ip == CLIENT


def test_a_slow_body_never_reaches_the_api(url):
    port = int(url.rpartition(":")[2])
    before = IdempotencyKey.objects.count()
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as client:
        client.sendall(head() + SIX_BYTES)
        answer = HTTPResponse(client)
        answer.begin()

        assert answer.status == 408
        assert json.loads(answer.read())["code"] == "request_timeout"
    assert IdempotencyKey.objects.count() == before


def test_a_long_body_that_stops_short_of_its_end_never_reaches_the_api(url):
    """One that fills HAProxy's usual buffer was passed on as it was; the API waits longer."""
    port, began_at = int(url.rpartition(":")[2]), time.monotonic()
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as client:
        client.sendall(head().replace(b"Length: 100", b"Length: 16384") + b"x" * 16_383)
        answer = HTTPResponse(client)
        answer.begin()

        assert answer.status == 408
    assert time.monotonic() - began_at < BODY_SECONDS / 2


def test_with_no_instance_ready_the_answer_has_the_shape_of_all_errors(tmp_path):
    with balancer(tmp_path, (free_port(), free_port())) as url:
        answer = requests.post(f"{url}/rides", timeout=PATIENCE_SECONDS)

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json().keys() == {"error", "code", "retryable"}
    assert answer.json()["retryable"] is True
