"""Whose turn it is: a bounded number of threads, and a bounded queue before them.

What waits is bounded in number and in time, because clients wait for no longer either. Without a
bound each request would be worked on in its turn for clients that hung up long ago, and so would
their retries (`docs/operating.md`, "More requests than it can serve").
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest

from idempotency.exceptions import IdempotencyError
from idempotency.stopping import count_calls, watch_calls
from rocketrides.door.answers import Answer
from rocketrides.refusals import Overloaded

PACE_OVER_TURNS = 16

Receive = Callable[[], Awaitable[Any]]
Work = tuple[WSGIRequest, "asyncio.Future[Answer]"]


class Turns:
    """Runs `respond` for some requests at a time, while others wait.

    Args:
        threads: the most that are worked on.
        active: the most of these that do something, in place of waiting for a foreign call. More
            would only wait for each other, for a processor or a connection to the database.
        longest: the most that wait.

    All of it but `_work_on` and `_call_begins` runs in the event loop, so nothing needs a lock.
    """

    def __init__(
        self, respond: Callable[[WSGIRequest], Answer], *, threads: int, active: int, longest: int
    ) -> None:
        self._respond = respond
        self._threads, self._active, self._longest = threads, active, longest
        self._queue: deque[_Place] = deque()
        self._pace = 0.0  # seconds from one turn to the next, as long as somebody waits
        self._last_turn_at: float | None = None
        self._in_hand = 0
        self._started = 0
        self._answers: set[asyncio.Future[Answer]] = set()
        self._work: SimpleQueue[Work] = SimpleQueue()
        self._ended: IdempotencyError | None = None
        watch_calls(self._call_begins)

    def refuse_when_full(self) -> None:
        """Raises: `Overloaded` where a request that came now would wait for too long."""
        if self._ended:
            raise self._ended
        if self.is_full():
            raise overloaded()

    def is_full(self) -> bool:
        """Whether as many wait as may, or will be served in half of the time that they may wait.

        The other half is for work that takes longer than what was measured.
        """
        self._drop_those_gone()
        waiting = len(self._queue)
        is_long = waiting * self._pace > settings.API_QUEUE_SECONDS / 2
        return is_long or (waiting >= self._longest and not self._has_room())

    async def take(self, request: WSGIRequest, receive: Receive) -> Answer:
        """Wait for a turn, and have the request answered.

        Raises: `Overloaded`, also where its client hung up before its turn.
        """
        self.refuse_when_full()
        if self._has_room() and not self._queue:
            self._in_hand += 1
        else:
            await self._wait(receive)
        try:
            return await self._run(request)
        finally:
            self._in_hand -= 1
            self._let_in()

    def abandon(self, error: IdempotencyError) -> int:
        """Answer all that is in hand, or comes from now on, with `error`; return how many were."""
        self._ended = error
        abandoned = [answer for answer in self._answers if not answer.done()]
        for answer in abandoned:
            answer.set_exception(error)
        return len(abandoned)

    def _has_room(self) -> bool:
        return self._in_hand < self._threads and self._in_hand - count_calls() < self._active

    def _let_in(self) -> None:
        self._drop_those_gone()
        while self._queue and self._has_room():
            self._in_hand += 1
            self._keep_pace(time.monotonic())
            self._queue.popleft().turn.set_result(None)
            self._drop_those_gone()
        if not self._queue:
            self._last_turn_at = None

    def _keep_pace(self, now: float) -> None:
        if self._last_turn_at is not None:
            self._pace += (now - self._last_turn_at - self._pace) / PACE_OVER_TURNS
        self._last_turn_at = now

    def _drop_those_gone(self) -> None:
        while self._queue and self._queue[0].turn.done():
            self._queue.popleft()

    async def _wait(self, receive: Receive) -> None:
        place = _Place(asyncio.get_running_loop())
        self._queue.append(place)
        hung_up = asyncio.ensure_future(_hung_up(receive))
        await asyncio.wait(
            {place.turn, hung_up},
            timeout=settings.API_QUEUE_SECONDS,
            return_when=asyncio.FIRST_COMPLETED,
        )
        hung_up.cancel()
        if not place.turn.done():
            place.turn.cancel()
            raise overloaded()

    async def _run(self, request: WSGIRequest) -> Answer:
        if self._ended:
            raise self._ended
        answer = asyncio.get_running_loop().create_future()
        self._answers.add(answer)
        if self._in_hand > self._started:
            self._started += 1
            # A daemon, since a thread in a foreign call must not hold up the end of the process.
            threading.Thread(target=self._work_on, daemon=True).start()
        self._work.put((request, answer))
        try:
            return await answer
        finally:
            self._answers.discard(answer)

    def _work_on(self) -> None:
        while True:
            request, answer = self._work.get()
            content = self._respond(request)
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the process ends
                answer.get_loop().call_soon_threadsafe(_settle, answer, content)

    def _call_begins(self) -> None:
        """A thread waits for another system now: somebody else may have its turn."""
        with contextlib.suppress(IndexError):  # nobody waits
            self._queue[0].loop.call_soon_threadsafe(self._let_in)


class _Place:
    """A place in the queue."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.turn: asyncio.Future[None] = loop.create_future()


def overloaded() -> Overloaded:
    return Overloaded(
        "The service has more requests than it can answer soon. Nothing was done. "
        "Retry with the same Idempotency-Key.",
        retry_after_seconds=1,
    )


def _settle(answer: "asyncio.Future[Answer]", content: Answer) -> None:
    if not answer.done():  # as one that was abandoned is
        answer.set_result(content)


async def _hung_up(receive: Receive) -> None:
    """Wait until the client is gone: nothing else can come once the body is read."""
    while (await receive())["type"] != "http.disconnect":
        pass
