"""What a question is made of: the API that is asked, a request, and its answer."""

import json
import socket
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

PATIENCE_SECONDS = 30.0
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


@dataclass(frozen=True)
class Answer:
    """What came back; status 0 where nothing did."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_marked(self) -> bool:
        """Whether a header says that it is a replay: packages name it differently."""
        marks = [v for name, v in self.headers.items() if name.lower().endswith("-replayed")]
        return any(mark.lower() in ("true", "1") for mark in marks)

    def __str__(self) -> str:
        shown = self.body[:60].decode(errors="replace")
        return f"{self.status} {shown}" if self.status else "no answer"


@dataclass(frozen=True)
class Api:
    """An address that does something each time that it is asked, unless a key says otherwise.

    Args:
        body: what is sent, as the fields of an object.
        other: fields that are different in another request.
        headers: sent with each request, such as a credential.
        strangers_headers: another client's; without them nothing is asked about other clients.
        counted_at: an address whose JSON tells how much has been done; None where there is none.
    """

    url: str
    body: Mapping[str, Any]
    other: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    strangers_headers: Mapping[str, str] | None = None
    method: str = "POST"
    is_form: bool = False
    counted_at: str | None = None

    def send(
        self,
        key: str | None,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send the request once, over a connection of its own."""
        sent = dict(self.body if body is None else body)
        content = urlencode(sent) if self.is_form else json.dumps(sent)
        own = {**(self.headers if headers is None else headers)}
        own["Content-Type"] = FORM if self.is_form else JSON
        if key is not None:
            own["Idempotency-Key"] = key
        return self._call(self.method, self.url, content.encode(), own)

    def hang_up(self, key: str) -> None:
        """Send the request, and close the connection before its answer."""
        where = urlsplit(self.url)
        content = (urlencode(self.body) if self.is_form else json.dumps(self.body)).encode()
        lines = {
            **self.headers,
            "Host": where.netloc,
            "Content-Type": FORM if self.is_form else JSON,
            "Content-Length": str(len(content)),
            "Idempotency-Key": key,
        }
        connection = _connection(self.url)
        with closing(connection):
            connection.connect()
            assert isinstance(connection.sock, socket.socket)
            head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
            first = f"{self.method} {_target(self.url)} HTTP/1.1\r\n"
            connection.sock.sendall(f"{first}{head}\r\n".encode() + content)

    def count(self) -> int | None:
        """Return how much has been done: a number, or the length of a list, in a JSON answer."""
        if self.counted_at is None:
            return None
        told = json.loads(self._call("GET", self.counted_at, None, dict(self.headers)).body)
        while isinstance(told, dict):
            told = next(value for value in told.values() if isinstance(value, list | dict | int))
        return told if isinstance(told, int) else len(told)

    def _call(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        with closing(_connection(url)) as connection:
            try:
                connection.request(method, _target(url), content, dict(headers))
                answered = connection.getresponse()
                # Some servers send the names in lower case, which means the same.
                named = {name.title(): value for name, value in answered.headers.items()}
                return Answer(answered.status, answered.read(), named)
            except (OSError, HTTPException):
                return Answer(0)


def new_key() -> str:
    return str(uuid.uuid4())


def _target(url: str) -> str:
    where = urlsplit(url)
    return (where.path or "/") + (f"?{where.query}" if where.query else "")


def _connection(url: str) -> HTTPConnection:
    where = urlsplit(url)
    kind = HTTPSConnection if where.scheme == "https" else HTTPConnection
    return kind(where.netloc, timeout=PATIENCE_SECONDS)
