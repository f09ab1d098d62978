"""The end of a process: what it must abandon is let go, so that a retry goes on at once.

A server that was asked to stop calls `begin`, finishes what it has in hand for as long as it may,
and calls `abandon` for the rest.
"""

import threading

from idempotency import failures
from idempotency.calls import calls_under_way
from idempotency.exceptions import ServiceStopping

_asked = threading.Event()
_abandoned = threading.Event()


def begin() -> None:
    """Note that the process was asked to stop: `/readyz` says so from now on."""
    _asked.set()


def was_asked_to_stop() -> bool:
    return _asked.is_set()


def abandon() -> None:
    """End all leases of this process in memory, and let go of the keys whose calls may be repeated.

    From the first line on no phase and no call starts here. A thread that is between two phases
    lets its key go by itself, with the `ServiceStopping` that it meets; one whose call returns
    later commits nothing of it, since its key may be another's by then.
    """
    _abandoned.set()
    for call in calls_under_way():
        if call.may_be_sent_again:
            failures.let_go(call.key, call.lease, service_stopping())


def refuse_to_go_on() -> None:
    """Raises: `ServiceStopping` once the process has abandoned its work."""
    if _abandoned.is_set():
        raise service_stopping()


def forget() -> None:
    """Take back `begin` and `abandon`. For tests, whose process goes on."""
    _asked.clear()
    _abandoned.clear()


def service_stopping() -> ServiceStopping:
    return ServiceStopping(
        "This process of the service is stopping. What was done so far is kept. "
        "Retry with the same Idempotency-Key.",
        retry_after_seconds=1,
    )
