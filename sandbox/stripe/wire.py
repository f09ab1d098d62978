"""As much of HTTP/1.1 as Stripe's clients use: a bare asyncio protocol, one request at a time.

Apart from the API so that the wire (keep-alive, limits, resets) is one concern and Stripe's rules
are another. A framework would be slower by an order of magnitude and could not reset a connection.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast

from sandbox.stripe.errors import ConnectionDropped

MAX_HEAD_BYTES = 32 * 1024
MAX_BODY_BYTES = 1024 * 1024
MAX_BUFFERED_BYTES = MAX_HEAD_BYTES + 2 * MAX_BODY_BYTES


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    method: str
    path: str
    query: bytes
    headers: dict[str, str]  # lower-case names
    body: bytes
    keeps_alive: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Answer]]


class Unreadable(Exception):
    """Not a request that this server reads; carries the status to answer with."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class Connection(asyncio.Protocol):
    """One client's connection; a request that is being answered runs on if the client leaves."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._buffer = b""
        self._transport: asyncio.Transport
        self._serving: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface of `asyncio.Transport` without being one.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > MAX_BUFFERED_BYTES:
            self._transport.abort()
        elif self._serving is None or self._serving.done():
            self._serving = asyncio.ensure_future(self._serve())

    async def _serve(self) -> None:
        """Answer every whole request in the buffer, in order."""
        try:
            while request := self._take_request():
                self._send(await self._handler(request), closes=not request.keeps_alive)
                if not request.keeps_alive:
                    return
        except Unreadable as error:
            self._send(Answer(status=error.status, body=b""), closes=True)
        except ConnectionDropped:
            self._reset()
        except BaseException:
            self._transport.abort()
            raise

    def _take_request(self) -> Request | None:
        parsed = parse_request(self._buffer)
        if parsed is None:
            return None
        request, self._buffer = parsed
        return request

    def _send(self, answer: Answer, *, closes: bool) -> None:
        if self._transport.is_closing():
            return
        reason = HTTPStatus(answer.status).phrase
        lines = [f"HTTP/1.1 {answer.status} {reason}", f"Content-Length: {len(answer.body)}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        if closes:
            lines.append("Connection: close")
        self._transport.write("\r\n".join([*lines, "\r\n"]).encode("latin-1") + answer.body)
        if closes:
            self._transport.close()

    def _reset(self) -> None:
        if self._transport.is_closing():
            return  # the client has left already, and its socket with it
        # Closing a socket that lingers for 0 seconds sends RST in place of FIN.
        linger = struct.pack("ii", 1, 0)
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()


def parse_request(buffer: bytes) -> tuple[Request, bytes] | None:
    """Return the first request of the buffer and the rest of it, or None while it is not whole.

    Raises:
        Unreadable: malformed, too large, or of a kind that Stripe's clients never send.
    """
    head, separator, rest = buffer.partition(b"\r\n\r\n")
    if len(head) > MAX_HEAD_BYTES:
        raise Unreadable(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    if not separator:
        return None
    start, *header_lines = head.decode("latin-1").split("\r\n")
    headers = dict(map(_parse_header, header_lines))
    length = _body_length(headers)
    if len(rest) < length:
        return None
    method, target, version = _parse_start(start)
    path, _, query = target.partition("?")
    request = Request(
        method=method,
        path=path,
        query=query.encode("latin-1"),
        headers=headers,
        body=rest[:length],
        keeps_alive=version == "HTTP/1.1" and headers.get("connection", "").lower() != "close",
    )
    return request, rest[length:]


def _parse_start(line: str) -> tuple[str, str, str]:
    parts = line.split(" ")
    if len(parts) != 3 or not parts[1].startswith("/") or not parts[2].startswith("HTTP/1."):
        raise Unreadable(HTTPStatus.BAD_REQUEST)
    return parts[0], parts[1], parts[2]


def _parse_header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise Unreadable(HTTPStatus.BAD_REQUEST)
    return name.lower(), value.strip()


def _body_length(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise Unreadable(HTTPStatus.LENGTH_REQUIRED)
    given = headers.get("content-length", "0")
    if not (given.isascii() and given.isdigit()):
        raise Unreadable(HTTPStatus.BAD_REQUEST)
    length = int(given[:12])
    if length > MAX_BODY_BYTES:
        raise Unreadable(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return length
