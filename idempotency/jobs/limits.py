"""How long a job may take: what it says of itself, and how a process is interrupted after it."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import TypeVar

from idempotency import conf
from idempotency.exceptions import JobOverLimit
from idempotency.support.compat import Task

Function = TypeVar("Function", bound=Callable[..., object])

_SOONEST_SECONDS = 0.001
"""A timer of 0 seconds is none."""


def job_limit(limit: timedelta) -> Callable[[Function], Function]:
    """Say how long a job may take, where `JOB_LIMIT` is not right for it.

    It stands below `@task`, next to the function:

        @task()
        @job_limit(timedelta(minutes=30))
        def make_report(*, month, settling): ...

    Args:
        limit: after it the job is interrupted, or what it would write refused; then it is handed
            over again.
    """

    def mark(function: Function) -> Function:
        function.job_limit = limit  # type: ignore[attr-defined]
        return function

    return mark


def limit_of(task: Task) -> timedelta:
    limit: timedelta = getattr(task.func, "job_limit", conf.current().job_limit)
    return limit


@contextmanager
def interrupted_after(seconds: float, *, of: timedelta) -> Iterator[Callable[[], None]]:
    """Raises `JobOverLimit` in the block when the time is over; yields what calls that off.

    Args:
        seconds: what is left.
        of: the limit, for the message.

    Only the main thread of a process can be interrupted. Elsewhere the lease ends, and what the job
    would write is refused.
    """
    is_on = True

    def call_off() -> None:
        nonlocal is_on
        is_on = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        if is_on:
            raise JobOverLimit(f"The job takes longer than its limit, which is {of}.")

    if not _can_interrupt(seconds):
        yield call_off
        return
    began_at = time.monotonic()
    handler = signal.signal(signal.SIGALRM, interrupt)
    others_seconds, others_interval = signal.setitimer(
        signal.ITIMER_REAL, max(seconds, _SOONEST_SECONDS)
    )
    try:
        # Twice, since the alarm can come in the first instruction of a `finally` too.
        try:
            yield call_off
        finally:
            call_off()
    finally:
        call_off()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler or signal.SIG_DFL)
        if others_seconds:
            left = others_seconds - (time.monotonic() - began_at)
            signal.setitimer(signal.ITIMER_REAL, max(left, _SOONEST_SECONDS), others_interval)


def _can_interrupt(seconds: float) -> bool:
    """A process has one timer. Whoever has set it to a sooner time keeps it."""
    if threading.current_thread() is not threading.main_thread():
        return False
    others_seconds, _ = signal.getitimer(signal.ITIMER_REAL)
    return not 0 < others_seconds <= seconds
