"""Bad input over raw sockets to both servers: a 4xx that says what is wrong, and not a trace of it.

After every request here all rows of the database are what they were, and the server's log has no
line that an operator would have to look at. Where a server answers by itself, which it may for what
is no HTTP, there is no JSON of ours, and the test says so.
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
JSON_TYPE = b"application/json"
FORM = b"origin_lat=0.0&origin_lon=0.0&target_lat=0.0&target_lon=0.0"

NOT_A_NUMBER = "origin_lat: must be a number in decimal digits, such as 37.7793."
NO_JSON = "The body is not valid JSON."
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


def form(origin_lat: str) -> bytes:
    return request(body=b"origin_lat=" + origin_lat.encode() + FORM.removeprefix(b"origin_lat=0.0"))


def json_body(body: bytes) -> bytes:
    return request(content_type=JSON_TYPE, body=body)


def json_field(origin_lat: str) -> bytes:
    fields = '{"origin_lat": %s, "origin_lon": 0, "target_lat": 0, "target_lon": 0}'
    return json_body((fields % origin_lat).encode())


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
            ("19 in quotes", request(key=b'"%b"' % (b"k" * 19)), "invalid", "has 19 characters"),
            ("256 in quotes", request(key=b'"%b"' % (b"k" * 256)), "invalid", "has 256 characters"),
            ("empty quotes", request(key=b'""'), "invalid", "has 0 characters"),
            ("opening quote", request(key=b'"' + KEY), "invalid", ONE_KEY),
            ("closing quote", request(key=KEY + b'"'), "invalid", ONE_KEY),
            ("quote inside", request(key=KEY + b'"' + KEY), "invalid", ONE_KEY),
            ("parameters", request(key=b'"%b";a=1' % KEY), "invalid", ONE_KEY),
            ("bad escape", request(key=rb'"\q%b"' % KEY), "invalid", ONE_KEY),
            ("comma", request(key=KEY + b"," + KEY), "invalid", ONE_KEY),
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


# The fields, as a form and as JSON.


@pytest.mark.parametrize("field", ["origin_lat", "origin_lon", "target_lat", "target_lon"])
@pytest.mark.parametrize("content_type", [FORM_TYPE, JSON_TYPE], ids=["form", "json"])
def test_a_missing_field_is_named(granian, field, content_type):
    fields = [pair.split("=") for pair in FORM.decode().split("&") if not pair.startswith(field)]
    as_json = json.dumps({name: float(value) for name, value in fields}).encode()
    as_form = "&".join(f"{name}={value}" for name, value in fields).encode()
    sent = request(
        content_type=content_type, body=as_json if content_type == JSON_TYPE else as_form
    )

    assert_refused(granian, sent, 422, "parameters_invalid", f"{field}: is missing.")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "origin_lat: is missing."),
        ("north", NOT_A_NUMBER),
        ("nan", NOT_A_NUMBER),
        ("inf", NOT_A_NUMBER),
        ("-Infinity", NOT_A_NUMBER),
        ("1e999", NOT_A_NUMBER),
        ("1e99999999999999999999", NOT_A_NUMBER),
        ("٣", NOT_A_NUMBER),
        ("\uff13", NOT_A_NUMBER),
        ("1_0", NOT_A_NUMBER),
        ("+1", NOT_A_NUMBER),  # which in a form is a blank and a one
        ("%201%20", NOT_A_NUMBER),
        ("1%0a", NOT_A_NUMBER),
        ("0x10", NOT_A_NUMBER),
        ("1,5", NOT_A_NUMBER),
        ("1;origin_lon=1", NOT_A_NUMBER),
        ("90.0000001", "origin_lat: must be between -90 and 90."),
        ("-90.0000001", "origin_lat: must be between -90 and 90."),
        ("9" * 5000, "origin_lat: must be between -90 and 90."),
        ("1.00000000001", "origin_lat: must have at most 10 decimals."),
        ("%00", "origin_lat: contains a NUL character."),
        ("1%00", "origin_lat: contains a NUL character."),
        ("0&origin_lat=0", "origin_lat: is given more than once."),
        ("0&origin_lat[]=0", "origin_lat[]: is not a known field."),
        ("0&origin_lat%5B%5D=0", "origin_lat[]: is not a known field."),
        ("0&raise_error=maybe", "raise_error: must be true or false."),
        ("0&raise_error=1", "raise_error: must be true or false."),
        ("0&raise_error=%00", "raise_error: contains a NUL character."),
        ("0&raise_error=true&raise_error=false", "raise_error: is given more than once."),
        ("0&tip=5", "tip: is not a known field. Known are: origin_lat, origin_lon,"),
        ("0&%00=5", r"\x00: is not a known field."),
        ("0&=5", ": is not a known field."),
        ("0&amount_cents=1", "amount_cents: is not a known field."),
    ],
)
def test_a_bad_field_of_a_form_is_named_with_the_reason(granian, text, reason):
    assert_refused(granian, form(text), 422, "parameters_invalid", reason)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("null", "origin_lat: is missing."),
        ('"1"', "origin_lat: must be a number."),
        ('"\\u0000"', "origin_lat: must be a number."),
        ('"\\ud800"', "origin_lat: must be a number."),
        ("true", "origin_lat: must be a number."),
        ("[1]", "origin_lat: must be a number."),
        ("{}", "origin_lat: must be a number."),
        ("1e400", NOT_A_NUMBER),
        ("1e-400", NOT_A_NUMBER),
        ("9" * 4000, "origin_lat: must be between -90 and 90."),
        ("90.0000001", "origin_lat: must be between -90 and 90."),
        ("-90.0000001", "origin_lat: must be between -90 and 90."),
        ("1.00000000001", "origin_lat: must have at most 10 decimals."),
        ('0, "origin_lat": 0', "origin_lat: is given more than once."),
        ('0, "raise_error": "true"', "raise_error: must be true or false."),
        ('0, "raise_error": 1', "raise_error: must be true or false."),
        ('0, "raise_error": "\\ud800"', "raise_error: must be true or false."),
        ('0, "tip": 5', "tip: is not a known field."),
        ('0, "origin_lat[]": 0', "origin_lat[]: is not a known field."),
        ('0, "\\u0000": 5', r"\x00: is not a known field."),
        ('0, "\\ud800": 5', r"\ud800: is not a known field."),
    ],
)
def test_a_bad_field_of_a_json_body_is_named_with_the_reason(granian, value, reason):
    assert_refused(granian, json_field(value), 422, "parameters_invalid", reason)


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


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        *[(body, NO_JSON) for body in (b"", b" ", b"{", b"{} {}", b"{'a': 1}", b'{"a": 1,}')],
        *[(body, "must be a JSON object") for body in (b"[]", b"null", b"1", b'"a"', b"true")],
        # Valid, but out of range for every reader that Python has.
        (b'{"origin_lat": ' + b"9" * 5_000 + b"}", NO_JSON),
        (b'{"origin_lat": 1e99999999999999999999}', NO_JSON),
        (b'{"origin_lat": NaN}', NO_JSON),
        (b'{"origin_lat": Infinity}', NO_JSON),
        (b'{"origin_lat": -Infinity}', NO_JSON),
        (b'{"origin_lat": 01}', NO_JSON),
        (b'{"origin_lat": +1}', NO_JSON),
        (b'{"origin_lat": 1_0}', NO_JSON),
        (b'{"origin_lat": .5}', NO_JSON),
        ('{"origin_lat": \uff13}'.encode(), NO_JSON),
        (b'\xef\xbb\xbf{"origin_lat": 1}', NO_JSON),
        (b'{"origin_lat": "\xff"}', "The body is not UTF-8."),
    ],
)
def test_a_body_that_is_no_json_object_is_a_400(granian, body, reason):
    assert_refused(granian, json_body(body), 400, "body_malformed", reason)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_000,
        b"[" * 8_000 + b"]" * 8_000,
        b'{"a":' * 3_000,
        b'{"origin_lat": ' + b"[" * 8_000 + b"]" * 8_000 + b"}",
        b'{"tip": ' + b"[" * 950 + b"]" * 950 + b"}",
    ],
)
def test_deep_nesting_is_refused(granian, body):
    """How deep its parser goes is Python's affair: before that it is no JSON, else no number."""
    answer = refused(granian, json_body(body))

    assert answer.is_ours
    assert (answer.status, json.loads(answer.body)["code"]) in [
        (400, "body_malformed"),
        (422, "parameters_invalid"),
    ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (FORM + b"&raise_error=%ff", "is not UTF-8"),
        (FORM + b"&raise_error=\xff", "is not UTF-8"),
        (FORM + b"&%ff=1", "is not UTF-8"),
        (FORM + b"&a=1" * 200, "more than 100 fields"),
    ],
)
def test_a_form_that_cannot_be_read_is_a_400(granian, body, reason):
    assert_refused(granian, request(body=body), 400, "body_malformed", reason)


@pytest.mark.parametrize(
    "content_type",
    [b"text/plain", b"text/json", b"multipart/form-data", b"multipart/form-data; boundary=x"],
)
def test_another_content_type_is_a_415(granian, content_type):
    sent = request(content_type=content_type)

    assert_refused(
        granian, sent, 415, "content_type_unsupported", content_type.split(b";")[0].decode()
    )


@pytest.mark.parametrize("content_type", [FORM_TYPE, JSON_TYPE], ids=["form", "json"])
def test_another_charset_makes_no_other_text_of_a_body(granian, content_type):
    sent = request(content_type=content_type + b"; charset=latin-1", body=b"origin_lat=\xb3")

    assert_refused(granian, sent, 400, "body_malformed", "The body is not UTF-8.")


def test_a_form_without_a_body_names_every_field(granian):
    assert_refused(granian, request(body=b""), 422, "parameters_invalid", "target_lon: is missing.")


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
    """Nobody is there any more to be told why."""
    rows, complaints = every_row(), server.complaints()
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as client:
        client.sendall(request(length=b"100"))
        client.shutdown(socket.SHUT_WR)
        client.recv(65_536)

    assert every_row() == rows
    assert server.complaints() == complaints


# The address.


@pytest.mark.parametrize("path", [b"/rides/", b"/Rides", b"/ride", b"/rides/1", b"/rides%00"])
def test_another_path_is_a_404(server, path):
    assert_refused(server, request(path=path), 404, "not_found", "nothing at this address")


def test_a_trailing_slash_is_answered_with_the_address_that_was_meant(server):
    sent = request(path=b"/rides/")

    assert_refused(server, sent, 404, "not_found", "Did you mean /rides?")


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"BREW"])
def test_another_method_is_a_405_that_says_which_one_is_allowed(server, method):
    assert_refused(
        server,
        request(method=method),
        405,
        "method_not_allowed",
        f"{method.decode()} is not allowed",
    )
    assert refused(server, request(method=method)).headers["allow"] == "POST"


def test_head_is_a_405_too_and_has_no_body(server):
    answer = refused(server, request(method=b"HEAD"))

    assert (answer.status, answer.headers["allow"], answer.body) == (405, "POST", b"")


@pytest.mark.parametrize(
    "credential", [b"", b"\x00", b"\xff", b"stranger@example.com", RIDER.encode() * 100]
)
def test_a_bad_credential_is_a_401(granian, credential):
    """Granian answers a NUL by itself, with a 400."""
    sent = request().replace(b"Authorization: " + RIDER.encode(), b"Authorization: " + credential)
    answer = refused(granian, sent)

    assert answer.status in (401, 400)
    assert not answer.is_ours or json.loads(answer.body)["code"] == "unauthenticated"
