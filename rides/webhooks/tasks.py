"""The jobs that events leave: a refund or a dispute is read from Stripe, and written down."""

from collections.abc import Sequence
from typing import Any

from idempotency.jobs.settling import Settling
from idempotency.support.compat import task
from rides import payments
from rides.payments import Reversal, Shown
from rides.reconciliation.going_back import TABLES, sightings_of
from rides.reversals.recording import record_as_of, statuses_of

KINDS: dict[str, type[Reversal]] = {kind.KIND: kind for kind in TABLES}


@task()
def record_reversal(*, kind: str, stripe_id: str, settling: Settling) -> None:
    """Write down what Stripe has of a refund or a dispute, as the nightly run does."""
    before = statuses_of(TABLES[KINDS[kind]], stripe_id=stripe_id)
    shown = payments.shown_reversal(KINDS[kind], stripe_id)
    _record(KINDS[kind], [shown] if shown else [], before, settling)


@task()
def record_refunds_of_charge(*, charge_id: str, settling: Settling) -> None:
    """The same of all refunds of a charge, whose event does not name them."""
    before = statuses_of(TABLES[payments.Refund], stripe_charge_id=charge_id)
    shown = payments.shown_reversals_of(payments.Refund, charge_id)
    _record(payments.Refund, shown, before, settling)


def _record(
    kind: type[Reversal],
    shown: Sequence[Shown[Any]],
    before: dict[str, str],
    settling: Settling,
) -> None:
    sightings = list(sightings_of(shown))
    with settling():
        record_as_of(before, TABLES[kind], sightings)
