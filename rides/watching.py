"""What is asked of Stripe now and then for `/readyz`, in the background: nobody waits for it."""

import logging
import threading
import time
from datetime import timedelta

from django.db import connection

from rides.clocks import clock_warnings
from rides.standing import standing_warnings

ASK_EVERY = timedelta(minutes=5)

logger = logging.getLogger(__name__)

_latest: list[str] = []
_ask_again_at = 0.0
_lock = threading.Lock()


def latest_warnings() -> list[str]:
    """Return the warnings of the last few minutes."""
    global _ask_again_at
    with _lock:
        is_due = time.monotonic() >= _ask_again_at
        if is_due:
            _ask_again_at = time.monotonic() + ASK_EVERY.total_seconds()
    if is_due:
        threading.Thread(target=_ask, name="watching", daemon=True).start()
    return _latest


def _ask() -> None:
    global _latest
    try:
        _latest = [*clock_warnings(), *standing_warnings()]
    finally:
        connection.close()
    for warning in _latest:
        logger.warning("something is set up wrongly: %s", warning)
