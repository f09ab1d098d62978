"""What an event asks for, owed from the commit that has written the event down.

A view that settled a payment itself would have Stripe, and a thread, wait for several calls to
Stripe; and what it was killed in would have to be found by somebody else. So it writes and answers:
the completer or a job does the rest, and they are there for whatever dies on the way.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import connection

from idempotency import complete_soon, stage_job
from idempotency.transactions import in_transaction
from rides.models import Ride
from rides.payments import Event
from rides.webhooks.tasks import record_refunds_of_charge, record_reversal

ENDS_OF_PAYMENTS = (
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
)
ENDS_OF_REFUNDS = ("refund.updated", "refund.failed")

KEPT_FOR = timedelta(days=7)
"""Stripe sends an event again for three days. Later, by hand, it is received like a new one, which
does no harm: it only has Stripe asked."""

# Of any number of processes that are sent an event at once one writes it down. The others wait for
# that transaction: where it is rolled back, another one has the event.
WRITE_EVENT = """
INSERT INTO rides_stripeevent (stripe_id, type, object_id)
VALUES (%(stripe_id)s, %(type)s, %(object_id)s)
    ON CONFLICT (stripe_id) DO NOTHING
"""

# Numbered in the order of their time, so it reads from the oldest on. Chosen once: a limit is one.
REMOVE_OLD_EVENTS = """
WITH batch AS MATERIALIZED (
    SELECT id
      FROM rides_stripeevent
     WHERE id < COALESCE((SELECT id FROM rides_stripeevent
                           WHERE received_at >= statement_timestamp() - %(kept_for)s
                           ORDER BY id LIMIT 1),
                         9223372036854775807)
     ORDER BY id
     LIMIT %(limit)s
)
DELETE FROM rides_stripeevent WHERE id IN (SELECT id FROM batch)
"""
BATCH = 1_000


def receive(event: Event) -> None:
    """Write an event down and stage what it asks for, once however often it is sent.

    Nothing is written of what asks for nothing: a type that is not listed here, a payment or a
    refund of another installation, which may be a cell on the same account.
    """
    if asked := _asked_by(event):
        in_transaction(partial(_write_down, event, asked))


def remove_old_events() -> int:
    """Remove the events that nobody sends again, a batch in a transaction; return how many."""
    removed = 0
    values: dict[str, Any] = {"kept_for": KEPT_FOR, "limit": BATCH}
    with connection.cursor() as cursor:
        while True:
            cursor.execute(REMOVE_OLD_EVENTS, values)
            removed += cursor.rowcount
            if cursor.rowcount < BATCH:
                return removed


def _asked_by(event: Event) -> Callable[[], None] | None:
    """Return what is to be done in the transaction that writes the event down, or None."""
    object_id, key = event.object_id, event.foreign_key
    if object_id is None or event.is_anothers:
        return None
    if event.type in ENDS_OF_PAYMENTS:
        return partial(_go_on_with, key) if key else None
    if event.object_kind == "refund":
        return partial(_record_refund, object_id, key if event.type in ENDS_OF_REFUNDS else None)
    if event.object_kind == "dispute":
        return partial(_stage, record_reversal, kind="dispute", stripe_id=object_id)
    if event.type == "charge.refunded":
        return partial(_stage, record_refunds_of_charge, charge_id=object_id)
    return None


def _write_down(event: Event, asked: Callable[[], None]) -> None:
    values = {"stripe_id": event.id, "type": event.type, "object_id": event.object_id}
    with connection.cursor() as cursor:
        cursor.execute(WRITE_EVENT, values)
        is_new = cursor.rowcount == 1
    if is_new:
        asked()


def _go_on_with(foreign_key: UUID) -> None:
    """Have the requests gone on with that send this key: one, or those after it whose client used
    its own key again. One whose transaction has not committed yet has called nobody.
    """
    rides = Ride.objects.filter(foreign_key=foreign_key, idempotency_key__isnull=False)
    complete_soon(*rides.values_list("idempotency_key_id", flat=True))


def _record_refund(stripe_id: str, key_of_undoing: UUID | None) -> None:
    _stage(record_reversal, kind="refund", stripe_id=stripe_id)
    if key_of_undoing:
        _go_on_with(key_of_undoing)  # a person's decision to undo waits for its refunds


def _stage(task: Any, **arguments: str) -> None:
    stage_job(task, **arguments)
