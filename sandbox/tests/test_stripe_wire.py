"""The wire itself, over raw sockets: keep-alive, pieces, limits, and requests that are none."""

import json
import socket
from urllib.parse import urlsplit

import pytest

from sandbox.tests.conftest import API_KEY

GET_CUSTOMERS = f"GET /v1/customers HTTP/1.1\r\nAuthorization: Bearer {API_KEY}\r\n\r\n".encode()


@pytest.fixture
def connection(stand_in):
    address = urlsplit(stand_in.base_url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        yield connection


def read_answer(connection):
    """One answer: its status line, its headers by lower-case name, its body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return status, headers, body


def test_one_connection_carries_many_calls(connection):
    for _ in range(3):
        connection.sendall(GET_CUSTOMERS)
        status, headers, body = read_answer(connection)
        assert status == "HTTP/1.1 200 OK"
        assert headers["content-type"] == "application/json"
        assert headers["request-id"].startswith("req_")
        assert json.loads(body)["object"] == "list"


def test_a_request_may_come_in_pieces(connection):
    for byte in GET_CUSTOMERS:
        connection.sendall(bytes([byte]))
    assert read_answer(connection)[0] == "HTTP/1.1 200 OK"


def test_pipelined_requests_are_answered_in_order(connection):
    made = b"amount=2000&currency=usd"
    post = (
        f"POST /v1/payment_intents HTTP/1.1\r\nAuthorization: Bearer {API_KEY}\r\n"
        f"Content-Length: {len(made)}\r\nConnection: close\r\n\r\n"
    )
    connection.sendall(GET_CUSTOMERS.replace(b"customers", b"nowhere") + post.encode() + made)
    received = b""
    while piece := connection.recv(65536):
        received += piece
    first, second = received.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"404 ")
    assert second.startswith(b"200 ")


def test_nothing_is_executed_after_the_last_request_of_a_connection(connection, stand_in):
    closing = GET_CUSTOMERS.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    connection.sendall(closing + GET_CUSTOMERS)
    assert read_answer(connection)[1]["connection"] == "close"
    assert connection.recv(65536) == b""
    assert stand_in.calls()["calls"] == {"GET /v1/customers": 1}


@pytest.mark.parametrize("kind", ["reset_before", "reset_after"])
def test_a_reset_is_a_tcp_reset_and_not_an_orderly_close(connection, stand_in, kind):
    stand_in.add_fault(kind, times=1)
    connection.sendall(GET_CUSTOMERS)
    with pytest.raises(ConnectionResetError):
        connection.recv(65536)


def test_curl_may_name_the_key_as_its_user(connection):
    # base64 of "sk_test_stand_in:"
    basic = GET_CUSTOMERS.replace(f"Bearer {API_KEY}".encode(), b"Basic c2tfdGVzdF9zdGFuZF9pbjo=")
    connection.sendall(basic)
    assert read_answer(connection)[0] == "HTTP/1.1 200 OK"


def test_a_call_without_a_key_is_a_401(connection):
    connection.sendall(b"GET /v1/customers HTTP/1.1\r\n\r\n")
    status, _, body = read_answer(connection)
    assert status.startswith("HTTP/1.1 401 ")
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "body", [b"email=%ff%fe", b"a=1&a[b]=2", b"a[=1", b"&".join([b"a=1"] * 1001)]
)
def test_a_body_that_cannot_be_read_is_a_400(connection, body):
    connection.sendall(
        f"POST /v1/customers HTTP/1.1\r\nAuthorization: Bearer {API_KEY}\r\n"
        f"Idempotency-Key: unreadable\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    status, _, answer = read_answer(connection)
    assert status == "HTTP/1.1 400 Bad Request"
    assert json.loads(answer)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: minus\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", b"431"),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(connection, request_, status):
    connection.sendall(request_)
    received = b""
    while piece := connection.recv(65536):
        received += piece
    assert received.split(b" ")[1] == status
