"""An ASGI application that has a request whole before a thread of Django's sees it.

Whatever is refused here has touched no database, and whoever is waited for here holds nothing that
others need.
"""

import asyncio
import io
import threading
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest
from django.urls import Resolver404, resolve

from idempotency import conf
from idempotency.claims import request_in_progress
from idempotency.exceptions import IdempotencyError
from idempotency.http import request_ids
from idempotency.http.errors import error_response
from idempotency.http.refusals import BodyMalformed, BodyTooLarge
from idempotency.http.waiting import seconds_to_wait
from idempotency.stopping import watch_calls
from idempotency.watching.metrics import count_refusal
from idempotency.watching.pulse import pulse_of
from rocketrides.door.answers import Answer, answer_of, django_answer
from rocketrides.door.scopes import environ_of
from rocketrides.door.stopping import live
from rocketrides.door.turns import Turns, overloaded
from rocketrides.refusals import Overloaded, RequestTimeout

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

APART = ("/healthz", "/readyz", "/metrics")
"""What whoever watches the service asks, above all where it does badly."""
LONGEST_PATH = 255


class Door:
    """Awaits a request's body, then its turn, then Django's answer."""

    def __init__(self) -> None:
        self._turns = Turns(
            self._answer_here,
            threads=settings.API_THREADS,
            active=settings.API_ACTIVE,
            longest=settings.API_QUEUE,
        )
        # An instance that has too much to do is alive, and says so on threads of their own; at each
        # address others, since two of them look into the database, which may hang.
        self._apart = {
            path: Turns(django_answer, threads=2, active=2, longest=20) for path in APART
        }
        self._overloaded = answer_of(error_response(overloaded()))
        self._here = threading.local()
        self._calling: dict[tuple[str, ...], WSGIRequest] = {}
        """What was asked by requests that have called another system, so they are no replays."""
        watch_calls(self._note_call)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            pulse_of("api")  # it is there before its first request
            await live(receive, send, self._turns)
            return
        try:
            # First, since under too much load this is most of what is done.
            if self._turns.is_full() and scope["path"] not in self._apart:
                count_refusal(Overloaded.code)
                status, headers, content = self._overloaded
                headers = [*headers, *to_other_sites(scope), request_id_of(scope)]
            else:
                status, headers, content = await self._answer(scope, receive)
        except IdempotencyError as error:
            count_refusal(error.code)
            status, headers, content = answer_of(error_response(error, accept_of(scope)))
            headers += [*to_other_sites(scope), request_id_of(scope)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, scope: Message, receive: Receive) -> Answer:
        """Raises: an `IdempotencyError` where Django is not asked."""
        body = io.BytesIO()
        request = WSGIRequest(environ_of(scope, body))
        if turns := self._apart.get(request.path_info):
            return await turns.take(request, receive)
        view = view_at(request.path_info)
        refuse_unread = getattr(view, "refuse_unread", None)
        if refuse_unread and not is_preflight(request):
            refuse_unread(request)
        asked, waits = question_of(request), seconds_to_wait(request) > 0
        self._refuse_worked_on(asked, waits=waits)
        limit = getattr(view, "max_body_bytes", None) or conf.current().max_body_bytes
        await read_body(request, body, receive, limit)
        self._refuse_worked_on(asked, waits=waits)
        try:
            return await self._turns.take(request, receive)
        finally:
            if self._calling.get(asked) is request:
                del self._calling[asked]

    def _answer_here(self, request: WSGIRequest) -> Answer:
        self._here.request = request
        return django_answer(request)

    def _note_call(self) -> None:
        """Called in the thread that makes the call."""
        if (request := getattr(self._here, "request", None)) and (asked := question_of(request)):
            self._calling[asked] = request

    def _refuse_worked_on(self, asked: tuple[str, ...], *, waits: bool) -> None:
        """A retry whose first is still worked on by this process needs no database to learn it."""
        if asked in self._calling and not waits:
            raise request_in_progress(retry_after_seconds=1)


def is_preflight(request: HttpRequest) -> bool:
    """Say whether a browser asks on behalf of another site's page, before it sends the request."""
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def accept_of(scope: Message) -> str:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"]
    return ",".join(values)


def request_id_of(scope: Message) -> tuple[bytes, bytes]:
    """Return the header by which an answer that Django has not made is known."""
    name = request_ids.HEADER.lower().encode()
    given = next((value for header, value in scope["headers"] if header == name), b"")
    return (name, request_ids.id_of(given.decode("latin-1")).encode())


def to_other_sites(scope: Message) -> list[tuple[bytes, bytes]]:
    """Return what lets an allowed site's page read an answer that Django has not made."""
    origin = next((value for name, value in scope["headers"] if name == b"origin"), b"")
    if origin.decode("latin-1") not in settings.CORS_ALLOWED_ORIGINS:
        return []
    exposed = ", ".join(settings.CORS_EXPOSE_HEADERS).encode()
    return [
        (b"Access-Control-Allow-Origin", origin),
        (b"Access-Control-Expose-Headers", exposed),
        (b"Vary", b"origin"),
    ]


def question_of(request: HttpRequest) -> tuple[str, ...]:
    """Return what makes a request the same as another: key, address, credential. Empty without.

    Two clients never have the credential in common, so none learns here of another's key.
    """
    key = request.headers.get("Idempotency-Key")
    credential = [request.headers.get(name, "") for name in conf.current().credential_headers]
    return (key, request.path_info, *credential) if key and any(credential) else ()


@lru_cache(maxsize=1024)
def view_at(path: str) -> Callable[..., Any] | None:
    """Return the view of an address, which may say what it refuses before the body is read
    (`refuse_unread`, as an operation's does), and how long a body may be (`max_body_bytes`).
    """
    if len(path) > LONGEST_PATH:
        return None
    try:
        return resolve(path).func
    except Resolver404:
        return None


async def read_body(request: HttpRequest, body: io.BytesIO, receive: Receive, limit: int) -> None:
    """Await the whole body, of up to `limit` bytes, and keep it in `body`.

    Raises: `BodyTooLarge`, `RequestTimeout`, and `BodyMalformed` where the client has sent no more:
    it may have closed its own side only, and wait for an answer.
    """
    announced = int(request.META.get("CONTENT_LENGTH") or 0)  # a number: the server has read it
    is_chunked = "HTTP_TRANSFER_ENCODING" in request.META
    try:
        async with asyncio.timeout(settings.BODY_SECONDS):
            while is_chunked or body.tell() < announced <= limit:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BodyMalformed("The body is shorter than its Content-Length.")
                is_chunked &= message.get("more_body", False) and body.tell() <= limit
                body.write(message.get("body", b""))
    except TimeoutError:
        raise RequestTimeout(
            f"The body did not arrive within {settings.BODY_SECONDS} s. Nothing was done. "
            "Retry with the same Idempotency-Key."
        ) from None
    if max(announced, body.tell()) > limit:
        raise BodyTooLarge(f"The body is larger than {limit} bytes.")
    body.seek(0)
