"""Clients that send slowly, or nothing, or never read: nobody else notices them.

The API is the one of the Procfile, with nothing in front.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

import pytest

from idempotency.models import IdempotencyKey
from rides.tests.processes import GRANIAN, Api, running_api
from rides.tests.sockets import (
    SIX_BYTES,
    connect,
    connections,
    head,
    median_of_bookings,
    memory_mb,
    trickling,
    was_closed,
)
from sandbox.stripe.control import StandIn
from sandbox.supervisor import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

HEAD_TIMEOUT = "--http1-header-read-timeout 10000"
MEASUREMENTS = 3  # other tests run beside this one, and a disturbance is no proof


@pytest.fixture
def impatient_api(stand_in: StandIn, tmp_path: Path, monkeypatch) -> Iterator[Api]:
    """An API that waits a second for a head, and a second for a body."""
    assert HEAD_TIMEOUT in GRANIAN
    monkeypatch.setenv("BODY_SECONDS", "1")
    command = GRANIAN.replace(HEAD_TIMEOUT, "--http1-header-read-timeout 1000")
    with running_api(stand_in, tmp_path, command) as api:
        yield api


@pytest.mark.parametrize("count", [16, 300])
def test_clients_whose_bodies_trickle_keep_nobody_waiting(api, count):
    median_of_bookings(api)  # to get warm

    for left in reversed(range(MEASUREMENTS)):
        alone = median_of_bookings(api)
        with trickling(api, count):
            beside = median_of_bookings(api)
        if beside <= 2 * alone:
            break
        assert left, f"{beside:.3f} s beside {count} slow clients, {alone:.3f} s alone"


def test_a_body_that_does_not_come_is_a_408_and_the_end_of_its_connection(impatient_api):
    with connect(impatient_api) as client:
        client.sendall(head() + SIX_BYTES)
        answer = HTTPResponse(client)
        answer.begin()

        assert (answer.status, answer.getheader("Content-Type")) == (408, "application/json")
        assert b'"code": "request_timeout", "retryable": true' in answer.read()
        wait_until(lambda: was_closed(client))
    assert not IdempotencyKey.objects.exists()


def test_unfinished_heads_keep_nobody_waiting(api):
    with connections(api, 400, b"POST /rides HTTP/1.1\r\nHost: loc"):
        median_of_bookings(api)


def test_connections_that_send_nothing_keep_nobody_out_and_are_closed(impatient_api):
    with connections(impatient_api, 1_100) as clients:
        median_of_bookings(impatient_api)
        wait_until(lambda: all(map(was_closed, clients)))


def test_clients_that_stop_reading_hold_no_thread_and_little_memory(api):
    asked = b"GET /static/admin/js/vendor/jquery/jquery.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    median_of_bookings(api)
    before = memory_mb(api)
    with contextlib.ExitStack() as stack:
        for _ in range(200):  # more than there are threads in one process
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", api.port))
            client.sendall(asked)
        median_of_bookings(api)

        assert memory_mb(api) - before < 200 * 0.3 + 50  # the file has 0.3 MB


def test_a_flood_of_http_2_headers_is_no_http_here(api):
    """A megabyte of HPACK references to one header of 4 KB is 4 GB of headers to HTTP/2."""
    median_of_bookings(api)
    before = memory_mb(api)

    with connect(api) as client, contextlib.suppress(ConnectionError):
        client.settimeout(PATIENCE_SECONDS)
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
        for number in range(100):
            client.sendall(frame(1, 0x5, 1 + 2 * number, headers(is_first=not number)))
        time.sleep(0.5)

    assert memory_mb(api) - before < 30
    median_of_bookings(api)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, section 4.1)."""
    head = struct.pack(">I", len(payload))[1:] + bytes([kind, flags])
    return head + struct.pack(">I", stream) + payload


def headers(*, is_first: bool) -> bytes:
    """A block of headers (RFC 7541): GET of / by http, and 4,000 times the entry 62 of the table,
    which the first block puts there."""
    value = b"a" * 4_000
    entry = (
        b"\x40\x01x" + b"\x7f" + bytes([(4_000 - 127) % 128 + 128, (4_000 - 127) // 128]) + value
    )
    return b"\x82\x86\x84" + (entry if is_first else b"") + b"\xbe" * 4_000
