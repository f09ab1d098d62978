"""What the API does when it is asked to stop, and in which order.

1. `/readyz` says so, and for `STOP_NOTICE_SECONDS` all goes on: the balancer sends nobody any more.
2. No new connection is taken. What is in hand is finished, for `STOP_GRACE_SECONDS`.
3. What is left is abandoned: its leases are ended, its keys let go where that is safe, its clients
   answered with 503.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings

from idempotency import conf, stopping
from idempotency.operations import all_operations
from idempotency.phases import ForeignPhase
from rocketrides.door.turns import Turns

logger = logging.getLogger(__name__)


async def live(
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
    turns: Turns,
) -> None:
    """The lifespan of the application, as ASGI has it: from the server's start to its end.

    The server would stop at SIGTERM at once, and its "shutdown" comes when the last request is
    answered, which is too late. So SIGTERM is taken from it here, and SIGINT left to it.
    """
    await receive()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _Stop(turns).begin)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def grace_seconds() -> float:
    """How long requests in hand may take: as long as a foreign call, unless a setting says less."""
    if settings.STOP_GRACE_SECONDS is not None:
        return float(settings.STOP_GRACE_SECONDS)
    phases = [phase for operation in all_operations() for phase in operation.phases()]
    longest = [p.worst_case for p in phases if isinstance(p, ForeignPhase) and p.worst_case]
    return max(longest, default=conf.current().lock_timeout).total_seconds()


class _Stop:
    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Stop, once, however often it is asked: a process group's signal comes twice."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._stop())

    async def _stop(self) -> None:
        stopping.begin()
        await asyncio.sleep(settings.STOP_NOTICE_SECONDS)
        signal.raise_signal(signal.SIGINT)  # to the server's own handler
        await asyncio.sleep(grace_seconds())
        await asyncio.to_thread(stopping.abandon)
        count = self._turns.abandon(stopping.service_stopping())
        logger.warning("stopped with requests in hand: abandoned=%s", count)
