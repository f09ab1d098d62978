"""A second client that sends the same request just when the first is at a boundary."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from django.db import connections

from idempotency.database import connection
from idempotency.testing.activity import somebody_waits
from idempotency.testing.boundaries import Boundary
from idempotency.testing.experiments import Answer
from idempotency.testing.processes import LOOK_AGAIN_SECONDS


class Duplicate:
    """Asks in a thread of its own. The first client goes on once the second was answered, or waits
    for what the first has locked.
    """

    def __init__(self, ask: Callable[[], Answer]) -> None:
        self._ask = ask
        self._pool = ThreadPoolExecutor(1)
        self._answer: Future[Answer] | None = None

    def strike(self, boundary: Boundary) -> None:
        self._answer = self._pool.submit(self._ask_and_hang_up)
        observer = connection.copy()
        try:
            while not self._answer.done() and not somebody_waits(observer):
                time.sleep(LOOK_AGAIN_SECONDS)
        finally:
            observer.close()

    def answer(self) -> Answer | None:
        """What the second client was told. None where it never came to ask."""
        with self._pool:
            return self._answer.result() if self._answer else None

    def _ask_and_hang_up(self) -> Answer:
        try:
            return self._ask()
        finally:
            connections.close_all()
