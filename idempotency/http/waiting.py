"""A duplicate that would rather wait than come again: `Prefer: wait=10` (RFC 7240, section 4.3)."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections
from django.http import HttpRequest, HttpResponse

from idempotency import conf, doors, stopping
from idempotency.exceptions import RequestInProgress

_WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})"?\s*(?=[,;]|$)', re.IGNORECASE)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0

_waiting: set[Any] = set()
"""Whose requests wait in this process: one of a user's at a time."""

_lock = threading.Lock()


def wait_for_first(
    request: HttpRequest, user: Any, refused: RequestInProgress, again: Callable[[], HttpResponse]
) -> HttpResponse:
    """Ask again and again, for as long as the client prefers to wait, with no connection in hand
    between two looks.

    Raises: `RequestInProgress` where the first takes longer, where the client does not wait, or
    where as many wait already as may: each has a thread.
    """
    ends_at, pause = time.monotonic() + seconds_to_wait(request), FIRST_PAUSE_SECONDS
    with _place_of(user) as has_place:
        while has_place and not stopping.was_asked_to_stop():
            if (left := ends_at - time.monotonic()) <= 0:
                break
            _close_connections()
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            doors.refuse_while_closed()
            try:
                return again()
            except RequestInProgress as error:
                refused = error
    raise refused


def _close_connections() -> None:
    """Close what authenticating has opened too, or give it back to its pool, where there is one."""
    for each in connections.all(initialized_only=True):
        if not each.in_atomic_block:  # as a test case has it
            each.close()


def seconds_to_wait(request: HttpRequest) -> float:
    """Return for how long a duplicate waits: as it prefers, within the limit; else the default."""
    settings = conf.current()
    preferred = _WAIT.search(request.headers.get("Prefer", ""))
    wanted = int(preferred[1]) if preferred else settings.wait_default.total_seconds()
    return min(wanted, settings.wait_limit.total_seconds())


@contextmanager
def _place_of(user: Any) -> Iterator[bool]:
    with _lock:
        has_place = len(_waiting) < conf.current().wait_places and user.pk not in _waiting
        if has_place:
            _waiting.add(user.pk)
    try:
        yield has_place
    finally:
        if has_place:
            _waiting.discard(user.pk)
