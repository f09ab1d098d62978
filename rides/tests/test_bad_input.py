"""Bad input over raw sockets to both servers: a 4xx that says what is wrong, and not a trace of it.

After every request here all rows of the database are what they were, and the server's log has no
line that an operator would have to look at. Where a server answers by itself, which it may for what
is no HTTP, there is no JSON of ours, and the test says so. What is wrong with a field or inside a
body is in `test_forms` and `idempotency/tests/test_parameters`, since no server matters there.
"""

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPResponse

import pytest
from django.core.management import call_command

from idempotency.models import KEY_MAX_LENGTH
from rides.tests.booking import RIDER, every_row
from rides.tests.factories import RiderFactory
from rides.tests.processes import Api
from sandbox.supervisor import PATIENCE_SECONDS

# Rolled back, so cheap: what a server commits against all expectation is seen even so.
pytestmark = pytest.mark.django_db

KEY = b"a-key-that-is-long-enough"
FORM_TYPE = b"application/x-www-form-urlencoded"
FORM = b"origin_lat=0.0&origin_lon=0.0&target_lat=0.0&target_lon=0.0"

ONE_KEY = "The Idempotency-Key must be one value of printable ASCII characters"
KB_20 = b"x" * 20 * 1024


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_ours(self) -> bool:
        return self.headers.get("content-type") == "application/json"


@pytest.fixture(scope="module", autouse=True)
def rider(django_db_setup, django_db_blocker) -> Iterator[None]:
    """Somebody to whom bad input could do harm, where the servers see her."""
    with django_db_blocker.unblock():
        RiderFactory(email=RIDER)
    yield
    with django_db_blocker.unblock():
        call_command("flush", interactive=False, verbosity=0)


@pytest.fixture(params=["granian", "runserver"], scope="module")
def server(request: pytest.FixtureRequest) -> Api:
    """One server after the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def granian(api: Api) -> Api:
    return api


def request(
    *headers: bytes,
    method: bytes = b"POST",
    path: bytes = b"/rides",
    key: bytes | None = KEY,
    content_type: bytes = FORM_TYPE,
    body: bytes = FORM,
    length: bytes | None = None,
) -> bytes:
    """A request byte by byte: a good one, but for what is given. `headers` are whole lines."""
    lines = [
        method + b" " + path + b" HTTP/1.1",
        b"Host: localhost",
        b"Connection: close",
        b"Authorization: " + RIDER.encode(),
        b"Content-Type: " + content_type,
        *([] if key is None else [b"Idempotency-Key: " + key]),
        *headers,
    ]
    if not any(line.lower().startswith(b"transfer-encoding") for line in headers):
        lines.append(b"Content-Length: " + (length or str(len(body)).encode()))
    return b"\r\n".join([*lines, b"", body])


def chunked(body: bytes) -> bytes:
    return request(b"Transfer-Encoding: chunked", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))


def exchange(server: Api, sent: bytes) -> Answer:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as client:
        # A server may refuse before the end of the body, and still answers.
        with contextlib.suppress(ConnectionError):
            client.sendall(sent)
        response = HTTPResponse(client, method=sent.partition(b" ")[0].decode("latin-1"))
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())


def refused(server: Api, sent: bytes) -> Answer:
    """The answer to a request that leaves no trace, in the database or in the log."""
    rows, complaints = every_row(), server.complaints()
    answer = exchange(server, sent)
    assert every_row() == rows
    assert server.complaints() == complaints
    assert 400 <= answer.status < 500
    return answer


def assert_refused(server: Api, sent: bytes, status: int, code: str, reason: str) -> None:
    answer = refused(server, sent)
    assert answer.is_ours, answer
    said = json.loads(answer.body)
    assert (answer.status, said["code"], said["retryable"]) == (status, code, False)
    assert reason in said["error"]


# The key.


@pytest.mark.parametrize(
    ("sent", "code", "reason"),
    [
        pytest.param(sent, f"idempotency_key_{code}", reason, id=name)
        for name, sent, code, reason in [
            ("none", request(key=None), "missing", "needs an Idempotency-Key header"),
            ("empty", request(key=b""), "missing", "needs an Idempotency-Key header"),
            ("blank", request(key=b" \t "), "missing", "needs an Idempotency-Key header"),
            ("19 characters", request(key=b"k" * 19), "invalid", "has 19 characters; it must have"),
            ("256 characters", request(key=b"k" * 256), "invalid", "has 256 characters"),
            ("tab", request(key=KEY + b"\t" + KEY), "invalid", ONE_KEY),
            ("two", request(b"Idempotency-Key: " + KEY[::-1]), "invalid", ONE_KEY),
            ("the same twice", request(b"Idempotency-Key: " + KEY), "invalid", ONE_KEY),
            (
                "two in quotes",
                request(b'Idempotency-Key: "%b"' % KEY, key=b'"%b"' % KEY),
                "invalid",
                ONE_KEY,
            ),
            ("one and none", request(b"Idempotency-Key: "), "invalid", ONE_KEY),
            ("one and bytes", request(b"Idempotency-Key: " + b"\xff" * 20), "invalid", ONE_KEY),
        ]
    ],
)
def test_a_key_that_is_not_one_key_of_a_right_length_is_a_400(server, sent, code, reason):
    assert_refused(server, sent, 400, code, reason)


@pytest.mark.parametrize("key", [b"\xff\xfe" * 12, "ключ".encode() * 6, KEY + b"\xa0" + KEY])
def test_a_key_that_is_not_ascii_is_a_400(server, key):
    """Granian drops the header, so that there it counts as missing."""
    answer = refused(server, request(key=key))

    assert answer.status == 400
    assert json.loads(answer.body)["code"] in ("idempotency_key_missing", "idempotency_key_invalid")


@pytest.mark.parametrize("key", [KEY + b"\x00", KEY + b"\x00" + KEY, KEY + b"\x7f", KEY + b"\x1b"])
def test_a_key_with_a_control_character_is_a_400(server, key):
    """Granian answers by itself: no header may hold one."""
    answer = refused(server, request(key=key))

    assert answer.status == 400
    assert not answer.is_ours or json.loads(answer.body)["code"] == "idempotency_key_invalid"


def test_a_key_as_long_as_a_header_can_be_is_refused(server):
    """The development server answers by itself: it takes no line of over 64 KiB."""
    answer = refused(server, request(key=b"k" * 70_000))

    assert answer.status in (400, 431)
    assert not answer.is_ours or f"20 to {KEY_MAX_LENGTH}" in json.loads(answer.body)["error"]


# The fields.


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"origin_lat=0&origin_lon=180.0000001&target_lat=0&target_lon=0", ["origin_lon"]),
        (b"origin_lat=0&origin_lon=-180.0000001&target_lat=0&target_lon=0", ["origin_lon"]),
        (b"origin_lat=x&origin_lon=x&target_lat=x", ["origin_lat", "origin_lon", "target_lat"]),
    ],
)
def test_every_bad_field_is_named(granian, body, fields):
    for field in fields:
        assert_refused(granian, request(body=body), 422, "parameters_invalid", f"{field}: must be")


# The body.


def test_a_body_over_16_kib_is_a_413(server):
    assert_refused(
        server, request(body=KB_20), 413, "body_too_large", "The body is larger than 16384 bytes."
    )


@pytest.mark.parametrize("length", [b"20480", b"9" * 15], ids=["20 KiB", "a petabyte"])
def test_a_body_that_is_announced_too_large_is_refused_unread(granian, length):
    """The development server refuses it too, but then reads on to what was announced."""
    assert_refused(granian, request(length=length), 413, "body_too_large", "16384 bytes")


@pytest.mark.parametrize("body", [FORM, KB_20], ids=["short", "20 KiB"])
def test_a_body_in_chunks_is_a_411(server, body):
    """Django reads no further than the announced length, so nothing of it would be seen."""
    assert_refused(server, chunked(body), 411, "length_required", "Content-Length")


@pytest.mark.parametrize("length", [b"abc", b"-1", b"+59", b"5_9", "\uff15".encode(), b"0x3b"])
def test_a_content_length_that_is_no_number_is_a_400(server, length):
    """Granian answers by itself."""
    answer = refused(server, request(length=length))

    assert answer.status == 400
    assert not answer.is_ours or json.loads(answer.body)["code"] == "body_malformed"


@pytest.mark.parametrize(
    "sent",
    [
        request(length=b"9" * 30),
        request(b"Content-Length: 3"),
        request(b"Transfer-Encoding: gzip, bogus"),
        request(b"Bad Name: value"),
        request(b"Folded: over\r\n two lines"),
        request().replace(b"HTTP/1.1", b"HTTP/9.9"),
        b"\x00\x01\x02\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_granians_own_400(granian, sent):
    assert refused(granian, sent).status == 400


def test_a_body_that_ends_early_leaves_no_trace(server):
    """Somebody may be there to be told why, with only the sending side closed."""
    rows, complaints = every_row(), server.complaints()
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as client:
        client.sendall(request(length=b"100"))
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(65_536), b""))

    assert not answer or (b" 400 " in answer and b"body_malformed" in answer)

    assert every_row() == rows
    assert server.complaints() == complaints


# The address.


@pytest.mark.parametrize("path", [b"/rides/", b"/Rides", b"/ride", b"/rides/1", b"/rides%00"])
def test_another_path_is_a_404(server, path):
    assert_refused(server, request(path=path), 404, "not_found", "nothing at this address")


def test_a_trailing_slash_is_answered_with_the_address_that_was_meant(server):
    sent = request(path=b"/rides/")

    assert_refused(server, sent, 404, "not_found", "Did you mean /rides?")


@pytest.mark.parametrize("method", [b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"BREW"])
def test_another_method_is_a_405_that_says_which_one_is_allowed(server, method):
    assert_refused(
        server,
        request(method=method),
        405,
        "method_not_allowed",
        f"{method.decode()} is not allowed",
    )
    assert refused(server, request(method=method)).headers["allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize(
    "credential", [b"", b"\x00", b"\xff", b"stranger@example.com", RIDER.encode() * 100]
)
def test_a_bad_credential_is_a_401(granian, credential):
    """Granian answers a NUL by itself, with a 400."""
    sent = request().replace(b"Authorization: " + RIDER.encode(), b"Authorization: " + credential)
    answer = refused(granian, sent)

    assert answer.status in (401, 400)
    assert not answer.is_ours or json.loads(answer.body)["code"] == "unauthenticated"
