"""Charges without a ride, as a database that lost its last commits leaves them at Stripe.

The client's own retry adopts such a charge, since it asks the same question under the same key. A
person refunds what no retry will adopt, one charge at a time.
"""

import logging
from datetime import datetime, timedelta

from django.db import connection
from django.db.models.functions import Now

from idempotency import conf, doors
from idempotency.models import Doors
from rides import payments
from rides.formats import amount
from rides.models import AuditRecord, User
from rides.payments import LedgerCharge
from rides.reconciliation.comparing import with_their_rides
from rides.reversals import rows
from rides.reversals.recording import Sighting, record

logger = logging.getLogger(__name__)

SEEN_BY_EVERY_PROCESS = timedelta(seconds=5)  # each looks at the doors once a second


class RefundRefused(Exception):
    """The charge can't be refunded from here, or not now; the message says why."""


def refund_unclaimed(charge_id: str, *, reason: str, reviewer: str) -> str:
    """Refund a charge that no ride has, and return in words what was done.

    Raises: RefundRefused; Indeterminate, to be called again; NeedsReview.
    """
    if not reason.strip():
        raise RefundRefused("A refund needs a reason.")
    charge = _unclaimed(charge_id)
    _refuse_while_a_retry_may_come(charge)
    left = amount(charge.amount_cents - charge.refunded_cents, charge.currency)
    refund = payments.refund_charge(charge)
    record(rows.Refund, [Sighting(refund, ride=None)])
    _record(charge, reason=reason, reviewer=reviewer)
    logger.info("refunded an unclaimed charge charge=%s reviewer=%s", charge.id, reviewer)
    return f"{charge.id}: {left}, refund {refund.status}"


def _unclaimed(charge_id: str) -> LedgerCharge:
    if not charge_id.startswith("ch_") or not charge_id.isidentifier():
        raise RefundRefused(f"{charge_id!r} is not the id of a charge (ch_…).")
    charge = payments.find_ledger_charge(charge_id)
    if charge is None or charge.status != "succeeded":
        raise RefundRefused(f"Stripe has no charge {charge_id} that succeeded.")
    if charge.is_refunded:
        raise RefundRefused(f"{charge_id} is refunded already.")
    pairs = list(with_their_rides([charge]))
    if not pairs:
        raise RefundRefused(f"{charge_id} does not carry this installation's mark.")
    [(_, ride)] = pairs
    if ride is not None:
        raise RefundRefused(
            f"{charge_id} belongs to ride {ride.pk}: decide on that ride's request."
        )
    return charge


def _refuse_while_a_retry_may_come(charge: LedgerCharge) -> None:
    """Refuse to refund a charge with which a retry might book its ride at the same time."""
    if charge.created_at < _database_time() - conf.current().lookup_span:
        return
    if not Doors.objects.filter(closed_at__lt=Now() - SEEN_BY_EVERY_PROCESS).exists():
        raise RefundRefused(
            "A retry may still come for this charge. Close the doors (manage.py doors close) and "
            f"wait {SEEN_BY_EVERY_PROCESS.seconds} s; or wait until the charge is older than "
            f"{conf.current().lookup_span}."
        )
    if in_hand := doors.requests_in_hand():
        raise RefundRefused(f"{in_hand} requests are still in hand. Wait until none is.")


def _database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        at: datetime = cursor.fetchone()[0]
        return at


def _record(charge: LedgerCharge, *, reason: str, reviewer: str) -> None:
    """Note the refund in the rider's record, where the rider is not lost with the ride."""
    rider = User.objects.filter(stripe_customer_id=charge.customer_id).first()
    if rider is None:
        return
    AuditRecord.objects.create(
        action=AuditRecord.Action.CHARGE_REFUNDED,
        data={
            "charge": charge.id,
            "foreign_key": charge.foreign_key,
            "reviewer": reviewer,
            "reason": reason,
        },
        resource_id=rider.pk,
        resource_type="user",
        user=rider,
    )
