"""HAProxy where TLS ends: what a client cannot say there, and what it cannot do to others."""

import contextlib
import json
import socket
import ssl
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pycurl
import pytest
import requests

from idempotency.testing.clock import let_time_pass
from rides.models import Ride, User
from rides.tests.answering import answering_with, saying
from rides.tests.balancing import PROGRAM, Answer, Front, front
from rides.tests.booking import BOOKED, CHARGING, COORDINATES, KEY, RIDER, the_key
from rides.tests.processes import Api, running_api
from rides.tests.rights import TOKEN
from rides.tests.sockets import SIX_BYTES, head
from rides.tests.test_crashes import PAST_THE_LEASE
from sandbox.stripe.control import StandIn
from sandbox.supervisor import PATIENCE_SECONDS, free_port, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("riders"),
    pytest.mark.skipif(not PROGRAM, reason="NOT TESTED: there is no haproxy; `make haproxy`"),
]

CLIENT, FORGED = "127.0.0.2", "198.51.100.9"
SAID = {
    "X-Forwarded-For": FORGED,
    "X-Forwarded-Host": "elsewhere.example.com",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Port": "1",
    "X-Real-IP": FORGED,
    "Forwarded": f"for={FORGED}",
}
SOON = {"http-request 10s": "http-request 1s", "wait-for-body time 10s": "wait-for-body time 1s"}


def echo(request: BaseHTTPRequestHandler) -> None:
    """Answer with the head of the request, as an instance gets it."""
    saying(200, json.dumps([request.path, request.headers.items()]).encode())(request)


@pytest.fixture(scope="module")
def echoing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with answering_with(echo) as url:
        port = int(url.rpartition(":")[2])
        with front(tmp_path_factory.mktemp("echoing"), (port, free_port())) as at:
            wait_until(lambda: at.ask("/").status == 200)
            yield at


@pytest.fixture
def at(behind: Api, tmp_path: Path) -> Iterator[Front]:
    with front(tmp_path, (behind.port, free_port()), SOON) as at:
        wait_until(lambda: at.ask("/docs").status == 200)
        yield at


def test_plain_http_is_sent_on_to_https_with_its_method(echoing):
    for method in ("GET", "POST"):
        url = f"{echoing.plain_url}/rides?limit=1"
        answer = requests.request(method, url, timeout=PATIENCE_SECONDS, allow_redirects=False)

        assert answer.status_code == 308
        assert answer.headers["Location"] == url.replace("http:", "https:")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_before_1_2_is_refused(echoing, version):
    assert handshake(echoing, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with (
        pytest.raises(ssl.SSLError, match="version"),
        pytest.warns(DeprecationWarning, match="deprecated"),
    ):
        handshake(echoing, version)


def handshake(at: Front, version: ssl.TLSVersion) -> str | None:
    """Offer one version only, whatever this machine's OpenSSL thinks of it."""
    context = ssl.create_default_context(cafile=at.certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with connect(at, context) as client:
        return client.version()


@contextlib.contextmanager
def connect(at: Front, context: ssl.SSLContext | None = None) -> Iterator[ssl.SSLSocket]:
    context = context or ssl.create_default_context(cafile=at.certificate)
    with (
        socket.create_connection(("127.0.0.1", at.port), PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        yield client


@pytest.mark.parametrize("version", [pycurl.CURL_HTTP_VERSION_2TLS, pycurl.CURL_HTTP_VERSION_1_1])
def test_no_header_of_a_clients_says_where_it_is(echoing, version):
    answer = echoing.ask("/", address=CLIENT, http_version=version, **SAID)

    assert (answer.http_version == "HTTP/2") is (version == pycurl.CURL_HTTP_VERSION_2TLS)
    _, headers = json.loads(answer.body)
    got = {name.lower(): value for name, value in headers}
    assert got["x-forwarded-for"] == CLIENT
    assert got["x-forwarded-proto"] == "https"
    assert not got.keys() & {"forwarded", "x-real-ip", "x-forwarded-host", "x-forwarded-port"}
    assert FORGED not in str(headers)


@pytest.mark.parametrize("path", ["/readyz", "/healthz", "/%72eadyz", "/readyz?x=1"])
def test_nobody_but_haproxy_asks_an_instance_for_its_health(echoing, path):
    answer = echoing.ask(path)

    assert (answer.status, json.loads(answer.body)) == (200, {"ready": True})


@pytest.mark.parametrize("path", ["/metrics", "/metric%73?x=1"])
def test_nobody_outside_reads_an_instances_numbers(echoing, path):
    answer = echoing.ask(path, Authorization="Bearer whatever")

    assert (answer.status, json.loads(answer.body)["code"]) == (404, "not_found")


def book(at: Front, key: str = KEY, **said: Any) -> Answer:
    body = urlencode(COORDINATES).encode()
    return at.ask("/rides", body, **{"Idempotency-Key": key, "Authorization": RIDER, **said})


def test_a_booking_by_http_2_has_the_clients_address(at):
    answer = book(at, address=CLIENT, **SAID)

    assert (answer.http_version, answer.status) == ("HTTP/2", 201)
    assert json.loads(answer.body) == BOOKED
    assert the_key().origin_ip == CLIENT


def test_wrong_passwords_behind_haproxy_are_counted_by_the_clients_address(at):
    User.objects.create_superuser("ops@example.com", "a password of their own")

    def sign_in(password: str, address: str, **said: str) -> int:
        form = {"username": "ops@example.com", "password": password, "csrfmiddlewaretoken": TOKEN}
        said = {"Cookie": f"csrftoken={TOKEN}", **said}
        return at.ask("/admin/login/", urlencode(form).encode(), address=address, **said).status

    # Ten of one address lock it out, in one of the two processes.
    told = [sign_in("wrong", CLIENT, **{"X-Forwarded-For": f"198.51.100.{n}"}) for n in range(19)]

    assert set(told) == {200, 429}
    assert sign_in("a password of their own", "127.0.0.3") == 302


HELD_UP = 100  # of each kind, and an address may have 500 connections
MEASUREMENTS = 3  # other tests run beside this one, and a disturbance is no proof
LARGE_FILE = b"GET /static/admin/js/vendor/jquery/jquery.js HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"POST /rides HTTP/1.1\r\nHost: loc", id="a head that stops"),
        pytest.param(head() + SIX_BYTES, id="a body that stops"),
        pytest.param(LARGE_FILE * 20, id="a client that does not read"),
    ],
)
def test_slow_clients_over_tls_keep_nobody_waiting(behind, stand_in, tmp_path, sent):
    with front(tmp_path, (behind.port, free_port())) as at:
        wait_until(lambda: at.ask("/docs").status == 200)
        for left in reversed(range(MEASUREMENTS)):
            alone = median_of_bookings(at)
            with contextlib.ExitStack() as stack:
                for _ in range(HELD_UP):
                    stack.enter_context(connect(at)).sendall(sent)
                beside = median_of_bookings(at)
            if beside <= 2 * alone:
                break
            assert left, f"{beside:.3f} s beside {HELD_UP} slow clients, {alone:.3f} s alone"


def median_of_bookings(at: Front) -> float:
    times = []
    for _ in range(15):
        began_at = time.monotonic()
        assert book(at, str(uuid4())).status == 201
        times.append(time.monotonic() - began_at)
    return statistics.median(times)


@pytest.mark.parametrize(
    ("sent", "is_answered"), [(b"POST /rides HTT", False), (head() + SIX_BYTES, True)]
)
def test_a_slow_client_over_tls_is_given_up(at, sent, is_answered):
    with connect(at) as client:
        client.sendall(sent)
        answered = b"".join(iter(lambda: client.recv(4096), b""))

    assert answered.startswith(b"HTTP/1.1 408") or not is_answered
    assert (b"request_timeout" in answered) or not is_answered


def test_an_instance_that_is_killed_midway_leaves_one_ride_and_one_payment(
    stand_in: StandIn, tmp_path: Path
):
    """HAProxy sends the request again, to the other one, where it is a duplicate of the first.

    By HTTP/2 a client would, to whom HAProxy says that the stream was refused.
    """
    first_of_all = {"balance leastconn": "balance first"}
    with (
        running_api(stand_in, tmp_path) as one,
        running_api(stand_in, tmp_path) as two,
        front(tmp_path, (one.port, two.port), first_of_all) as at,
        ThreadPoolExecutor(1) as client,
    ):
        wait_until(lambda: at.ask("/docs").status == 200)
        stand_in.add_fault("stall", times=1, seconds=PATIENCE_SECONDS, path=CHARGING)
        booking = client.submit(book, at, http_version=pycurl.CURL_HTTP_VERSION_1_1)
        wait_until(lambda: booking.done() or stand_in.charges())
        one.kill()
        told = booking.result(PATIENCE_SECONDS)

        assert (told.status, json.loads(told.body)["code"]) == (409, "request_in_progress")
        assert int(told.headers["retry-after"]) > 0

        let_time_pass(PAST_THE_LEASE)
        answer = book(at)

    assert (answer.status, json.loads(answer.body)) == (201, BOOKED)
    [charge] = stand_in.charges()
    assert Ride.objects.get().stripe_charge_id == charge["id"]


@pytest.mark.parametrize(("said", "answered"), [({"Idempotency-Key": KEY}, 200), ({}, 502)])
def test_only_what_has_a_key_is_sent_again_by_haproxy(tmp_path, said, answered):
    seen = []

    def break_off(request: BaseHTTPRequestHandler) -> None:
        if request.command == "POST":
            seen.append(request.path)
        else:
            saying(200, b"{}")(request)

    with answering_with(break_off) as one, answering_with(echo) as other:
        ports = int(one.rpartition(":")[2]), int(other.rpartition(":")[2])
        with front(tmp_path, ports, {"balance leastconn": "balance first"}) as at:
            answer = at.ask("/", b"x=1", http_version=pycurl.CURL_HTTP_VERSION_1_1, **said)

    assert (answer.status, seen) == (answered, ["/"])
