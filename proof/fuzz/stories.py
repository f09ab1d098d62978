"""What is sent over a connection: requests that are right, and the ways in which they are wronged.

A way is a function of a `Writer`, which draws. Where a byte after a wrong frame could pass for a
request, one with a canary's key stands there: it must never be booked.
"""

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

CANARY = b"canary-"
FORM = b"origin_lat=1.5&origin_lon=-2&target_lat=3&target_lon=4"
JSON = b'{"origin_lat": 1.5, "origin_lon": -2, "target_lat": 3, "target_lon": 4}'
TYPES = {FORM: b"application/x-www-form-urlencoded", JSON: b"application/json"}
END = b"\r\n"

METHODS = b"GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT BREW post P\xd6ST \x00 PRI".split(
    b" "
)
TARGETS = [
    *(b"*", b"/", b"//rides", b"/rides/", b"/rides?", b"/rides#x", b"/rides;x", b"/RIDES"),
    *(b"rides", b"/%72ides", b"/rides%00", b"/rides/%ff", b"/rides/../rides", b"/rides\\x"),
    *(b"http://localhost/rides", b"http://evil.example/rides", b"https://a@b:99/rides"),
    *(b"/rides/00000000-0000-0000-0000-000000000000", b"/requests", b"/requests/1", b"/\xff\xfe"),
    *(
        b"/rides?limit=0",
        b"/rides?limit=999999999999999999999",
        b"/rides?before=%00",
        b"?" * 70_000,
    ),
    *(
        b"/rides?" + b"a=1&" * 3_000,
        b"/" + b"a" * 300,
        b"/admin",
        b"/stripe/webhook",
        b"localhost:80",
    ),
]
VERSIONS = [
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"HTTP/1.2",
    b"HTTP/2.0",
    b"HTTP/9.9",
    b"http/1.1",
    b"HTTP/1",
    b"",
]
CODINGS = [
    *(
        b"chunked",
        b" chunked",
        b"\tchunked",
        b"Chunked",
        b"\x0bchunked",
        b"chunked\x00",
        b"xchunked",
    ),
    *(b"identity", b"gzip, chunked", b"chunked, identity", b"chunked, chunked", b'"chunked"', b""),
]
LENGTHS = [
    b"0",
    b"1",
    b"-1",
    b"+59",
    b"5_9",
    b"0x3b",
    b"59 59",
    b"59,59",
    b"9" * 30,
    b"",
    b"\xb2",
    b"1e2",
]
SIZES = [
    b"zz",
    b"-1",
    b"ffffffffffffffff1",
    b"0x10",
    b"",
    b" ",
    b"5;a=\x00",
    b"1" + b"0" * 17,
    b"7fffffff",
]
BYTES = [
    b"\x00",
    b"\xff",
    b"\r",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b":",
    b"\x7f",
    b"\xe2\x80\xa8",
    b"%",
    b"\r\n\r\n",
]
ELSEWHERE = [b"/stripe/webhook", b"/", b"/admin/login/", b"/metrics", b"/openapi.json", b"/nowhere"]
NAMES = [
    b"X",
    b"Idempotency-Key",
    b"Authorization",
    b"Content-Type",
    b"Host",
    b"Prefer",
    b"Accept",
    b"X-Request-Id",
]
VALUES = [
    *(b"", b"\x00", b"\xff" * 30, b"a\r\n b", b"a\nb", b"wait=9", b"wait=-1", b"a" * 9_000),
    *(
        b"application/problem+json",
        b"text/html;q=\xff",
        b"evil.example",
        b"Bearer",
        b"Bearer rr_",
        b'"',
    ),
]


@dataclass(frozen=True)
class Story:
    """What one connection is sent.

    Args:
        requests: how many requests it has, whole ones or not.
        answers: how many answers there must be; None where only at most as many as `requests`.
        may_book: whether any of it may be accepted.
    """

    sent: bytes
    requests: int = 1
    answers: int | None = None
    may_book: bool = True


@dataclass
class Request:
    """A right one, in parts that can be wronged."""

    headers: list[tuple[bytes, bytes]]
    method: bytes = b"POST"
    target: bytes = b"/rides"
    version: bytes = b"HTTP/1.1"
    body: bytes = b""
    line_end: bytes = END
    extra: list[bytes] = field(default_factory=list)

    def __bytes__(self) -> bytes:
        first = b" ".join([self.method, self.target, self.version])
        lines = [first, *(name + b": " + value for name, value in self.headers), *self.extra]
        return self.line_end.join([*lines, b"", b""]) + self.body


@dataclass(frozen=True)
class Writer:
    """Writes requests of a rider's, by dice that can be thrown again."""

    dice: random.Random
    api_key: bytes

    def key(self) -> bytes:
        return str(uuid.UUID(int=self.dice.getrandbits(128), version=4)).encode()

    def reading(self) -> Request:
        target = self.dice.choice([b"/rides", b"/rides?limit=2", b"/requests", b"/openapi.json"])
        return Request([*self._who(), (b"Idempotency-Key", self.key())], b"GET", target)

    def booking(self, *, length: bool = True, key: bytes | None = None) -> Request:
        body = self.dice.choice([FORM, JSON])
        headers = [
            *self._who(),
            (b"Idempotency-Key", key or self.key()),
            (b"Content-Type", TYPES[body]),
            *([(b"Content-Length", str(len(body)).encode())] if length else []),
        ]
        return Request(headers, body=body)

    def any(self) -> Request:
        return self.booking() if self.dice.random() < 0.5 else self.reading()

    def last(self, request: Request | None = None) -> bytes:
        """Return a request after which the server is to close."""
        request = request or self.any()
        request.headers.append((b"Connection", b"close"))
        return bytes(request)

    def canary(self) -> bytes:
        return self.last(self.booking(key=CANARY + self.key()))

    def _who(self) -> list[tuple[bytes, bytes]]:
        return [(b"Host", b"localhost"), (b"Authorization", b"Bearer " + self.api_key)]


def pipelined(writer: Writer) -> Story:
    """Several right requests in one go."""
    count = writer.dice.randint(1, 4)
    sent = [bytes(writer.any()) for _ in range(count - 1)] + [writer.last()]
    return Story(b"".join(sent), count, answers=count)


def in_chunks(writer: Writer) -> Story:
    """A body in chunks, which is refused, and a right request after it."""
    request = writer.booking(length=False)
    request.headers.append((b"Transfer-Encoding", b"chunked"))
    request.body = chunked(request.body)
    return Story(bytes(request) + writer.last(), 2, answers=2)


def with_two_lengths(writer: Writer) -> Story:
    """Two lengths that differ, so that nobody knows where the next request begins."""
    request = writer.booking()
    shorter = str(writer.dice.randrange(len(request.body))).encode()
    at = writer.dice.randrange(len(request.headers) + 1)
    request.headers.insert(at, (b"Content-Length", shorter))
    return Story(bytes(request) + writer.canary(), may_book=False)


def with_a_strange_length(writer: Writer) -> Story:
    """A length that is no number, or too large, or none."""
    request = writer.booking(length=False)
    request.headers.append((b"Content-Length", writer.dice.choice(LENGTHS)))
    request.body = b""
    return Story(bytes(request), may_book=False)


def with_length_and_chunks(writer: Writer) -> Story:
    """A length and chunks: a proxy that goes by the one sees another next request."""
    request = writer.booking()
    request.body = writer.dice.choice([chunked(request.body), b"0\r\n\r\n"])
    coding = (b"Transfer-Encoding", b"chunked")
    request.headers.insert(writer.dice.randrange(len(request.headers) + 1), coding)
    return Story(bytes(request) + writer.canary(), may_book=False)


def with_a_strange_coding(writer: Writer) -> Story:
    """A transfer coding that some take for chunks and some do not."""
    smuggled = b"0\r\n\r\n" + writer.canary()
    request = writer.booking(length=False)
    request.body = smuggled
    name = writer.dice.choice([b"Transfer-Encoding", b"Transfer_Encoding", b"Transfer-Encoding "])
    wronged = [
        (name, writer.dice.choice(CODINGS)),
        (b"Content-Length", str(len(smuggled)).encode()),
    ]
    writer.dice.shuffle(wronged)
    request.headers += wronged
    return Story(bytes(request), may_book=False)


def with_wrong_chunks(writer: Writer) -> Story:
    """Chunks whose sizes are none, or lie."""
    request = writer.booking(length=False)
    request.headers.append((b"Transfer-Encoding", b"chunked"))
    size = writer.dice.choice(SIZES)
    request.body = size + END + request.body + END + b"0" + END + END
    return Story(bytes(request) + writer.canary(), may_book=False)


def with_a_strange_line(writer: Writer) -> Story:
    """Another method, target or version."""
    request = writer.any()
    part = writer.dice.choice(["method", "target", "version"])
    choices = {"method": METHODS, "target": TARGETS, "version": VERSIONS}
    setattr(request, part, writer.dice.choice(choices[part]))
    return Story(writer.last(request))


def with_a_strange_header(writer: Writer) -> Story:
    """A header more, twice, folded, or full of what a header may not have."""
    request = writer.any()
    name, value = writer.dice.choice(NAMES), writer.dice.choice(VALUES)
    request.headers.insert(writer.dice.randrange(len(request.headers) + 1), (name, value))
    return Story(writer.last(request), 2)


def with_a_strange_end_of_line(writer: Writer) -> Story:
    """Lines that end in LF, in CR, or in both the wrong way round."""
    request = writer.any()
    request.line_end = writer.dice.choice([b"\n", b"\r", b"\n\r", b"\r\r\n", b"\x00\r\n", b"\x85"])
    return Story(writer.last(request), 2)


def huge(writer: Writer) -> Story:
    """A header, many headers, or a body that is too large."""
    request = writer.booking()
    kind = writer.dice.choice(["header", "headers", "body"])
    size = writer.dice.choice([1_000, 20_000, 200_000])
    if kind == "header":
        request.headers.append((b"X-Long", b"x" * size))
    elif kind == "headers":
        request.headers += [(b"X-%d" % n, b"x") for n in range(size // 10)]
    else:
        request.headers[-1] = (b"Content-Length", str(size).encode())
        request.body = b"x" * size
    return Story(writer.last(request))


def cut_off(writer: Writer) -> Story:
    """A booking whose client is gone before its last byte."""
    sent = bytes(writer.booking())
    return Story(sent[: writer.dice.randrange(1, len(sent))], may_book=False)


def with_a_longer_body(writer: Writer) -> Story:
    """More bytes than were announced: what is over is the beginning of no request."""
    request = writer.booking()
    request.body += writer.dice.choice([b"&raise_error=true", b"}", b"\x00" * 50, b"GET"])
    return Story(bytes(request), 2)


def of_an_older_version(writer: Writer) -> Story:
    """HTTP/1.0 has one request a connection."""
    request = writer.booking()
    request.version = b"HTTP/1.0"
    return Story(bytes(request) + writer.canary(), answers=1)


def scrambled(writer: Writer) -> Story:
    """Right requests with a few bytes changed, left out, put in, or said twice."""
    count = writer.dice.randint(1, 2)
    sent = bytearray(b"".join([*(bytes(writer.any()) for _ in range(count - 1)), writer.last()]))
    for _ in range(writer.dice.randint(1, 4)):
        at = writer.dice.randrange(len(sent))
        until = at + writer.dice.choice([0, 1, 1, 2, 10])
        put = writer.dice.choice(
            [b"", bytes([writer.dice.randrange(256)]), *BYTES, bytes(sent[at:until])]
        )
        sent[at:until] = put
    return Story(bytes(sent), requests=2 + sent.count(b"HTTP/1"))


def in_a_strange_body(writer: Writer) -> Story:
    """A body of random bytes, of the length that it says."""
    request = writer.booking()
    size = writer.dice.randrange(200)
    request.body = request.body[: writer.dice.randrange(20)] + writer.dice.randbytes(size)
    name, _ = request.headers[-1]
    request.headers[-1] = (name, str(len(request.body)).encode())
    return Story(writer.last(request), answers=1, may_book=False)


def to_another_address(writer: Writer) -> Story:
    """Random bytes where Stripe, a browser or the staff would write: nobody here is one of them."""
    request = writer.booking(length=False)
    request.target = writer.dice.choice(ELSEWHERE)
    request.body = writer.dice.choice(
        [request.body, writer.dice.randbytes(100), b'{"id": "evt_1"}']
    )
    signature = b"t=%d,v1=%b" % (
        writer.dice.randrange(2**31),
        writer.dice.randbytes(8).hex().encode(),
    )
    request.headers += [
        (
            b"Stripe-Signature",
            writer.dice.choice([signature, b"", b"t=,v1=", b"\xff", b"v1=" * 99]),
        ),
        (b"Content-Length", str(len(request.body)).encode()),
    ]
    return Story(writer.last(request), answers=1, may_book=False)


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


WAYS: tuple[Callable[[Writer], Story], ...] = (
    *(pipelined, in_chunks, with_two_lengths, with_a_strange_length, with_length_and_chunks),
    *(with_a_strange_coding, with_wrong_chunks, with_a_strange_line, with_a_strange_header),
    *(with_a_strange_end_of_line, huge, cut_off, with_a_longer_body, of_an_older_version),
    *(scrambled, scrambled, scrambled, in_a_strange_body, to_another_address),
)
