"""The tables of refunds and disputes: what takes the money of a ride back after it was paid.

A row is open until it is settled: by itself, where it has ended well, or by a person, who says why.
They are the service's models like those in `rides.models`, which lists them.
"""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

BY_ITSELF = Q(settled_at__isnull=False, settled_by="")


def constraints_of(kind: str, *, ends_by_itself: tuple[str, ...]) -> list[models.BaseConstraint]:
    """Return what holds of each row.

    Args:
        ends_by_itself: the statuses in which a row may be settled by nobody.
    """
    return [
        models.CheckConstraint(
            name=f"{kind}_has_an_id_and_a_status",
            condition=~Q(stripe_id="") & ~Q(status=""),
        ),
        models.CheckConstraint(
            name=f"{kind}_currency_is_an_iso_code", condition=Q(currency__regex="^[a-z]{3}$")
        ),
        models.CheckConstraint(
            name=f"{kind}_is_settled_by_somebody_who_says_why",
            condition=Q(settled_by="", settled_note="")
            | (Q(settled_at__isnull=False) & ~Q(settled_by="") & ~Q(settled_note="")),
        ),
        models.CheckConstraint(
            name=f"{kind}_is_settled_by_itself_once_it_has_ended",
            condition=~BY_ITSELF | Q(status__in=ends_by_itself),
        ),
    ]


def index_of_open(kind: str) -> models.Index:
    """Return an index of the size of the trouble at hand."""
    return models.Index(
        fields=["made_at"], name=f"{kind}_open", condition=Q(settled_at__isnull=True)
    )


class Reversal(models.Model):
    """What refunds and disputes have in common."""

    ride = models.ForeignKey(
        "rides.Ride",
        on_delete=models.SET_NULL,
        null=True,
        related_name="%(class)ss",
        help_text="Empty where the charge is no ride's, as after a loss of rows.",
    )
    stripe_id = models.CharField(max_length=255, unique=True)
    stripe_payment_intent_id = models.CharField(  # noqa: DJ001 - null: a charge without a payment
        max_length=255, null=True
    )
    stripe_charge_id = models.CharField(  # noqa: DJ001 - null: it is of no charge
        max_length=255, null=True, db_index=True
    )
    amount_cents = models.PositiveBigIntegerField()
    currency = models.CharField(max_length=3)
    status = models.CharField(max_length=50, help_text="As Stripe last said.")
    reason = models.CharField(max_length=255, blank=True, default="")
    made_at = models.DateTimeField(help_text="By Stripe's clock.")
    seen_at = models.DateTimeField(db_default=Now(), editable=False)
    settled_at = models.DateTimeField(null=True)
    settled_by = models.CharField(
        max_length=255, blank=True, default="", help_text="Empty where it ended well by itself."
    )
    settled_note = models.TextField(blank=True, default="")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.stripe_id

    @property
    def is_open(self) -> bool:
        return self.settled_at is None


class Refund(Reversal):
    """Money that was sent back to a rider, by this service or in the dashboard."""

    is_ours = models.BooleanField(help_text="Made by this service, not in the dashboard.")

    class Meta:
        indexes = [index_of_open("refund")]
        constraints = constraints_of("refund", ends_by_itself=("succeeded", "failed", "canceled"))


class Dispute(Reversal):
    """Money that a rider's bank asks back."""

    class Meta:
        indexes = [index_of_open("dispute")]
        constraints = constraints_of(
            "dispute", ends_by_itself=("won", "warning_closed", "prevented")
        )
