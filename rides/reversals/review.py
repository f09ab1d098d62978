"""Refunds and disputes on the review list: what is said of each, and the forms of decisions."""

from collections.abc import Iterator

from idempotency.review.rows import Beside, OpenRow, RowDecisionForm
from rides import payments
from rides.formats import amount
from rides.payments import Outcome
from rides.reversals import decisions
from rides.reversals.rows import Dispute, Refund, Reversal

TABLES: tuple[type[Reversal], ...] = (Refund, Dispute)


class TryAgainForm(RowDecisionForm):
    slug = "try-again"
    title = "Try again"
    consequence = (
        "Another refund of the same amount is made in the place of the one that failed, under an "
        "idempotency key of its own, and this one is settled."
    )

    def carry_out(self, waiting: OpenRow, *, reviewer: str) -> str:
        assert isinstance(waiting.row, Refund), "only a refund can be tried again"
        return decisions.refund_again(
            waiting.row, reviewer=reviewer, reason=self.cleaned_data["reason"]
        )


class SettleForm(RowDecisionForm):
    slug = "settle"
    title = "Settled by hand"
    consequence = (
        "It leaves the list. Nothing else is done, at Stripe neither; should the money be taken "
        "back after this, it comes again."
    )

    def carry_out(self, waiting: OpenRow, *, reviewer: str) -> str:
        assert isinstance(waiting.row, Reversal)
        return decisions.settle(waiting.row, reviewer=reviewer, reason=self.cleaned_data["reason"])


def open_rows() -> Iterator[OpenRow]:
    """Yield the refunds and disputes that are not settled, each kind in the order of its time."""
    for table in TABLES:
        waiting = table._default_manager.filter(settled_at__isnull=True)
        rows = waiting.select_related("ride__user", "ride__idempotency_key").order_by("made_at")
        yield from map(as_open_row, rows.iterator())


def find(stripe_id: str) -> OpenRow | None:
    """Return the refund or dispute with an id, if it is not settled."""
    for table in TABLES:
        waiting = table._default_manager.filter(settled_at__isnull=True, stripe_id=stripe_id)
        row = waiting.select_related("ride__user", "ride__idempotency_key").first()
        if row:
            return as_open_row(row)
    return None


def as_open_row(row: Reversal) -> OpenRow:
    """Say of a row what a person needs to know to decide on it."""
    of = f"ride {row.ride_id}" if row.ride_id else f"charge {row.stripe_charge_id}"
    said = (
        f"{row._meta.verbose_name} {row.status}",
        f"of {amount(row.amount_cents, row.currency)} for {of}",
        row.reason,
    )
    return OpenRow(
        row=row,
        name=row.stripe_id,
        state=row.status,
        since=row.made_at,
        said="  ".join(filter(None, said)),
        decisions=(TryAgainForm, SettleForm) if has_failed(row) else (SettleForm,),
    )


def has_failed(row: Reversal) -> bool:
    """Say whether it is a refund that did not reach the rider."""
    return isinstance(row, Refund) and payments.Refund.STATUSES[row.status] is Outcome.REFUSED


BESIDE = Beside(open_rows=open_rows, find=find, decisions=(TryAgainForm, SettleForm))
