"""Whose turn it is: a bounded number of threads, and a bounded queue before them.

What waits is bounded in number and in time, because clients wait for no longer either. Without a
bound each request would be worked on in its turn for clients that hung up long ago, and so would
their retries (`docs/operating.md`, "Too many requests").
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest

from idempotency.exceptions import IdempotencyError
from rocketrides.door.answers import Answer

Work = tuple[WSGIRequest, "asyncio.Future[Answer]"]


class Overloaded(IdempotencyError):
    """More requests wait than can be served soon."""

    status, code, retryable = 503, "overloaded", True


class Disconnected(Exception):
    """The client hung up: there is nobody to answer."""


class Turns:
    """Runs `respond` for at most `threads` requests at a time; at most `longest` others wait.

    All of it but `_work_on` runs in the event loop, so nothing here needs a lock.
    """

    def __init__(
        self, respond: Callable[[WSGIRequest], Answer], *, threads: int, longest: int
    ) -> None:
        self._respond = respond
        self._longest = longest
        self._free = asyncio.Semaphore(threads)
        self._waiting = 0
        self._started = 0
        self._answers: set[asyncio.Future[Answer]] = set()
        self._work: SimpleQueue[Work] = SimpleQueue()
        self._ended: IdempotencyError | None = None

    def refuse_when_full(self) -> None:
        """*Raises* `Overloaded` where a request that came now would wait for too long."""
        self._refuse_when_ended()
        if self._waiting >= self._longest:
            raise overloaded()

    async def take(self, request: WSGIRequest, receive: Callable[[], Awaitable[Any]]) -> Answer:
        """Wait for a turn, and have the request answered.

        *Raises* `Overloaded`, `Disconnected` where its client hung up before its turn.
        """
        if self._free.locked():
            self.refuse_when_full()
            await self._wait(receive)
        else:
            await self._free.acquire()  # without waiting
        try:
            return await self._run(request)
        finally:
            self._free.release()

    def abandon(self, error: IdempotencyError) -> int:
        """Answer all that is in hand, or comes from now on, with `error`; return how many were."""
        self._ended = error
        for answer in self._answers:
            _settle(answer, error)
        return len(self._answers)

    async def _wait(self, receive: Callable[[], Awaitable[Any]]) -> None:
        turn = asyncio.ensure_future(self._free.acquire())
        hung_up = asyncio.ensure_future(_hung_up(receive))
        self._waiting += 1
        try:
            await asyncio.wait(
                {turn, hung_up},
                timeout=settings.API_QUEUE_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._waiting -= 1
        is_gone = hung_up.done()
        hung_up.cancel()
        if not is_gone and turn.done():
            return
        if turn.done():
            self._free.release()
        turn.cancel()
        raise Disconnected if is_gone else overloaded()

    async def _run(self, request: WSGIRequest) -> Answer:
        self._refuse_when_ended()
        answer = asyncio.get_running_loop().create_future()
        self._answers.add(answer)
        if len(self._answers) > self._started:
            self._started += 1
            # A daemon, since a thread in a foreign call must not hold up the end of the process.
            threading.Thread(target=self._work_on, daemon=True).start()
        self._work.put((request, answer))
        try:
            return await answer
        finally:
            self._answers.discard(answer)

    def _refuse_when_ended(self) -> None:
        if self._ended:
            raise self._ended

    def _work_on(self) -> None:
        while True:
            request, answer = self._work.get()
            content = self._respond(request)
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the process ends
                answer.get_loop().call_soon_threadsafe(_settle, answer, content)


def overloaded() -> Overloaded:
    return Overloaded(
        "The service has more requests than it can answer soon. Nothing was done. "
        "Retry with the same Idempotency-Key.",
        retry_after_seconds=1,
    )


def _settle(answer: "asyncio.Future[Answer]", outcome: Answer | IdempotencyError) -> None:
    if answer.done():  # abandoned, or its request's task is gone
        return
    if isinstance(outcome, IdempotencyError):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


async def _hung_up(receive: Callable[[], Awaitable[Any]]) -> None:
    """Wait until the client is gone: nothing else can come once the body is read."""
    while (await receive())["type"] != "http.disconnect":
        pass
