"""How much HAProxy lets one address, and one credential, send: the rest is a 429 that no instance
has seen.
"""

import json
import re
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4

import pycurl
import pytest

from idempotency.models import IdempotencyKey
from rides.models import Ride
from rides.tests.answering import answering_with, saying
from rides.tests.balancing import PROGRAM, Answer, Front, front
from rides.tests.booking import COORDINATES, RIDER, RIDER_WITH_BAD_CARD
from rides.tests.hooking import WEBHOOK
from rides.tests.processes import Api
from sandbox.supervisor import PATIENCE_SECONDS, free_port, wait_until

pytestmark = pytest.mark.skipif(
    not PROGRAM, reason="NOT TESTED: there is no haproxy; `make haproxy`"
)

ELSEWHERE = "127.0.0.2"
TWO_SECONDS = {
    "store http_req_rate(10s)": "store http_req_rate(2s)",
    "http_req_rate(10s),gpc0_rate(60s)": "http_req_rate(2s),gpc0_rate(2s)",
    "hdr Retry-After 10": "hdr Retry-After 2",
}
WRONG = "Bearer rr_test_1_wrong"


def answer_like_the_api(request: BaseHTTPRequestHandler) -> None:
    """A wrong credential is a 401, an event that nobody signed a 400."""
    if request.headers.get("Authorization") == WRONG:
        saying(401, b"{}")(request)
    elif request.path == WEBHOOK and "Stripe-Signature" not in request.headers:
        saying(400, b"{}")(request)
    else:
        saying(200, b"{}")(request)


@pytest.fixture
def port() -> Iterator[int]:
    """An instance that says what the API would."""
    with answering_with(answer_like_the_api) as url:
        yield int(url.rpartition(":")[2])


def statuses(at: Front, count: int, path: str = "/rides", **options: str) -> list[int]:
    return [at.ask(path, **options).status for _ in range(count)]


def assert_limited(answer: Answer) -> None:
    assert (answer.status, answer.headers["retry-after"]) == (429, "2")
    assert answer.headers["content-type"] == "application/json"
    told = json.loads(answer.body)
    assert told.keys() == {"error", "code", "retryable"}
    assert (told["code"], told["retryable"]) == ("too_many_requests", True)


def wait_for_retry_after() -> None:
    """Until the window has passed, of which HAProxy counts a share of the one before."""
    time.sleep(2 * 2)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("riders")
def test_a_credential_over_its_limit_gets_429_no_row_and_later_its_ride(
    behind: Api, tmp_path: Path
):
    def book(at: Front, key: str, rider: str = RIDER, **options: str) -> Answer:
        body = urlencode(COORDINATES).encode()
        return at.ask("/rides", body, **{"Idempotency-Key": key, "Authorization": rider, **options})

    with front(
        tmp_path, (behind.port, free_port()), TWO_SECONDS, RIDES_REQUESTS_PER_CREDENTIAL="5"
    ) as at:
        wait_until(lambda: at.ask("/docs").status == 200)
        answers = [book(at, str(uuid4())) for _ in range(5)]
        over = book(at, "one-more-than-there-may-be")
        elsewhere = book(at, "one-more-than-there-may-be", address=ELSEWHERE)
        other = book(at, str(uuid4()), RIDER_WITH_BAD_CARD)

        assert [answer.status for answer in answers] == [201] * 5
        assert_limited(over)
        assert_limited(elsewhere)
        assert other.status == 402
        assert not IdempotencyKey.objects.filter(idempotency_key__startswith="one-more").exists()

        wait_for_retry_after()
        assert book(at, "one-more-than-there-may-be").status == 201
    assert Ride.objects.exclude(stripe_charge_id=None).count() == 6


def test_a_session_is_a_credential_too(port, tmp_path):
    with front(tmp_path, (port, free_port()), TWO_SECONDS, RIDES_REQUESTS_PER_CREDENTIAL="5") as at:
        assert statuses(at, 6, Cookie="a=b; sessionid=ann") == [200] * 5 + [429]
        assert statuses(at, 1, Cookie="sessionid=bob") == [200]


def test_an_address_over_its_limit_gets_429_and_others_do_not(port, tmp_path):
    with front(tmp_path, (port, free_port()), TWO_SECONDS, RIDES_REQUESTS_PER_ADDRESS="20") as at:
        wait_for_retry_after()  # after the look whether it is up
        told = [at.ask("/rides", Authorization=str(n)) for n in range(21)]

        assert [answer.status for answer in told] == [200] * 20 + [429]
        assert_limited(told[-1])
        assert_limited(at.ask("/rides", b"x=1", http_version=pycurl.CURL_HTTP_VERSION_1_1))
        assert statuses(at, 1, address=ELSEWHERE) == [200]

        wait_for_retry_after()
        assert statuses(at, 1) == [200]


def test_stripes_events_are_not_counted_unless_they_are_refused(port, tmp_path):
    with front(
        *(tmp_path, (port, free_port()), TWO_SECONDS),
        RIDES_REQUESTS_PER_ADDRESS="10",
        RIDES_REFUSALS_PER_ADDRESS="5",
    ) as at:
        signed = {"Stripe-Signature": "t=1,v1=0"}
        assert statuses(at, 30, WEBHOOK, **signed) == [200] * 30
        assert at.ask(WEBHOOK, b"x" * 20_000, **signed).status == 200

        assert statuses(at, 7, WEBHOOK) == [400] * 6 + [429]
        assert statuses(at, 1, WEBHOOK, address=ELSEWHERE, **signed) == [200]


def test_an_address_with_too_many_wrong_credentials_is_refused_for_a_while(port, tmp_path):
    with front(tmp_path, (port, free_port()), TWO_SECONDS, RIDES_REFUSALS_PER_ADDRESS="5") as at:
        assert statuses(at, 7, Authorization=WRONG) == [401] * 6 + [429]
        assert_limited(at.ask("/rides", Authorization="right"))
        assert statuses(at, 1, address=ELSEWHERE, Authorization="right") == [200]

        wait_for_retry_after()
        assert statuses(at, 1, Authorization="right") == [200]


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        pytest.param(pycurl.CURL_HTTP_VERSION_1_1, {}, id="HTTP/1.1"),
        pytest.param(
            pycurl.CURL_HTTP_VERSION_1_1, {"Transfer-Encoding": "chunked"}, id="in chunks"
        ),
        pytest.param(pycurl.CURL_HTTP_VERSION_2TLS, {}, id="HTTP/2"),
    ],
)
def test_a_body_that_is_too_large_never_reaches_the_api(port, tmp_path, version, headers):
    with front(tmp_path, (port, free_port())) as at:
        most = at.ask("/rides", b"x" * 16_384, http_version=version)
        more = at.ask("/rides", b"x" * 16_385, http_version=version, **headers)

    assert (most.status, more.status) == (200, 413)
    told = json.loads(more.body)
    assert (told["code"], told["retryable"]) == ("body_too_large", False)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="NOT TESTED: this machine has no IPv6")
def test_addresses_of_one_ipv6_network_are_one_and_credentials_are_not_kept(port, tmp_path):
    asked, control = free_port(), tmp_path / "control"
    watched = {
        'bind "${HAPROXY_TLS_BIND}"': f'bind "${{HAPROXY_TLS_BIND}}",::1:{asked}',
        "    maxconn 4000": f"    stats socket {control} level admin\n    maxconn 4000",
    }
    with front(tmp_path, (port, free_port()), watched) as at:
        at.ask("/rides", Authorization="Bearer secret")
        by_ipv6 = Front(f"https://localhost:{asked}", at.plain_url, at.certificate)
        by_ipv6.ask("/rides", address="::1", Cookie="sessionid=secret")

        addresses = re.findall("key=(\\S+)", show(control, "show table of_address"))
        credentials = re.findall("key=(\\S+)", show(control, "show table of_credential"))

    assert {"::ffff:127.0.0.1", "::"} == set(addresses)  # ::1 is in ::/64
    assert len(credentials) == 2
    assert b"secret".hex().upper() not in "".join(credentials)


def show(control: Path, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_SECONDS)
        client.connect(str(control))
        client.sendall(f"{command}\n".encode())
        return b"".join(iter(lambda: client.recv(65_536), b"")).decode()
