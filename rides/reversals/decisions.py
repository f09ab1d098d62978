"""What a person decides on a refund or a dispute that is open. No decision touches a key.

Each names who took it and why, and is kept with the row and in the ride's audit records.
"""

import logging

from django.db import transaction
from django.db.models.functions import Now

from idempotency.exceptions import NeedsReview, ReviewRefused
from idempotency.support.described import described
from idempotency.support.storable import storable_json_text, storable_text
from rides import payments
from rides.models import AuditRecord
from rides.payments import Outcome
from rides.reconciliation.rules import is_open as has_open_request
from rides.reversals import rows
from rides.reversals.recording import Sighting, record
from rides.reversals.rows import Reversal

logger = logging.getLogger(__name__)


def settle(row: Reversal, *, reviewer: str, reason: str) -> str:
    """Settle a row by a person's word, and do nothing else; return in words what was done.

    Raises: `ReviewRefused`.
    """
    with transaction.atomic():
        _settle(AuditRecord.Action.SETTLED_BY_HAND, row, reviewer, reason)
    return f"Settled: {row.stripe_id}."


def refund_again(row: rows.Refund, *, reviewer: str, reason: str) -> str:
    """Make another refund in the place of one that failed; return in words what became of it.

    Raises: `ReviewRefused`; `Indeterminate`, to be decided again.
    """
    failed = payments.find_reversal(payments.Refund, row.stripe_id)
    if failed is None or failed.charge is None or failed.outcome is not Outcome.REFUSED:
        raise ReviewRefused(f"Stripe does not show {row.stripe_id} as a refund that has failed.")
    if row.ride and has_open_request(row.ride):
        raise ReviewRefused(
            f"The request of ride {row.ride.pk} is not finished: decide on that, which refunds "
            "what is left."
        )
    try:
        made = payments.refund_again(failed, failed.charge)
    except NeedsReview as error:
        said = f"{described(error)} {storable_json_text(error.evidence)}"
        raise ReviewRefused(said) from error
    with transaction.atomic():
        record(rows.Refund, [Sighting(made, row.ride)])
        _settle(AuditRecord.Action.REFUNDED_AGAIN, row, reviewer, reason)
    return f"Refunded again: {row.stripe_id} by {made.id}, which is {made.status}."


def _settle(action: AuditRecord.Action, row: Reversal, reviewer: str, reason: str) -> None:
    """Settle a row that is as the person saw it, and record who has decided what."""
    who, why = storable_text(reviewer), storable_text(reason)
    as_seen = type(row)._default_manager.filter(
        pk=row.pk, status=row.status, settled_at__isnull=True
    )
    if not as_seen.update(settled_at=Now(), settled_by=who[:255], settled_note=why):
        raise ReviewRefused(f"{row.stripe_id} has changed, or somebody else has decided on it.")
    if row.ride:
        AuditRecord.objects.create(
            action=action,
            data={"reviewer": who, "reason": why, row._meta.model_name: row.stripe_id},
            resource_id=row.ride.pk,
            resource_type="ride",
            user=row.ride.user,
        )
    logger.info("decided: row=%s action=%s", row.stripe_id, action)
