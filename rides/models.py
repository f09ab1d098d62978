"""Who rides, what was booked, and who did what: the service's own tables.

They refer to the idempotency key and need none: a ride outlives the key that booked it.
Every rule about a single row is a constraint of the database, so that no code path can skip it.
"""

import uuid
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.functions import RandomUUID
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Now

from rides.apikeys.rows import ApiKey
from rides.reversals.rows import Dispute, Refund
from rides.webhooks.rows import StripeEvent

__all__ = [
    "ApiKey",
    "AuditRecord",
    "Dispute",
    "ReconciledUntil",
    "Refund",
    "Ride",
    "StripeEvent",
    "User",
]


class UserManager(BaseUserManager["User"]):
    """Creates riders, who have a customer at Stripe, and staff, who need none."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create a user; without a password nobody can log in as them."""
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create a user who may do everything in the admin."""
        return self.create_user(
            email, password, **{**fields, "is_staff": True, "is_superuser": True}
        )


class User(AbstractBaseUser, PermissionsMixin):
    """A rider or a member of staff; the e-mail address, in lower case, is the login."""

    # What a rider is known by outside this database, which may hand an id out again.
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    email = models.EmailField(max_length=255, unique=True)
    stripe_customer_id = models.CharField(
        max_length=255,
        unique=True,
        null=True,
        blank=True,
        help_text="Whom Stripe charges; empty for staff.",
    )
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False, help_text="May log in to the admin.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    forgotten_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When `forget-user` erased who it was."
    )

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = []

    objects = UserManager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="user_email_is_lower_case_and_not_empty",
                condition=Q(email=Lower("email")) & ~Q(email=""),
            ),
            models.CheckConstraint(
                name="user_is_staff_or_has_a_customer",
                condition=Q(is_staff=True) | Q(stripe_customer_id__isnull=False),
                violation_error_message="A rider needs a customer at Stripe; only staff need none.",
            ),
            models.CheckConstraint(
                name="user_customer_is_not_the_empty_string",
                condition=~Q(stripe_customer_id=""),
            ),
        ]

    def __str__(self) -> str:
        return self.email


def within(field: str, limit: int) -> models.CheckConstraint:
    """Return the constraint that keeps ``field`` between minus and plus ``limit`` degrees."""
    return models.CheckConstraint(
        name=f"ride_{field}_within_{limit}_degrees",
        condition=Q(**{f"{field}__range": (Decimal(-limit), Decimal(limit))}),
    )


class Ride(models.Model):
    """One booked flight, and the payment for it once there is one."""

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="rides", db_index=False)
    idempotency_key = models.OneToOneField(
        "idempotency.IdempotencyKey",
        on_delete=models.SET_NULL,
        null=True,
        related_name="ride",
        help_text="The request that booked it; empty once the key is reaped.",
    )
    # What the ride is known by outside this database, which may hand an id out again.
    public_id = models.UUIDField(db_default=RandomUUID(), unique=True, editable=False)
    # Not unique: a ride outlives its key, and the same key, used again later, books another ride.
    foreign_key = models.UUIDField(
        null=True,
        blank=True,
        editable=False,
        db_index=True,
        help_text="What its payment is sent under, and looked for by.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    # Where somebody was and from where they asked, which is theirs: empty once they are forgotten.
    origin_ip = models.GenericIPAddressField(null=True, blank=True)
    origin_lat = models.DecimalField(max_digits=13, decimal_places=10, null=True, blank=True)
    origin_lon = models.DecimalField(max_digits=13, decimal_places=10, null=True, blank=True)
    target_lat = models.DecimalField(max_digits=13, decimal_places=10, null=True, blank=True)
    target_lon = models.DecimalField(max_digits=13, decimal_places=10, null=True, blank=True)
    # Written with the ride, not read from a price list when it is charged: a retry after a change
    # of the fare must send Stripe the same amount under the same key.
    amount_cents = models.PositiveIntegerField()
    currency = models.CharField(max_length=3)
    # Kept likewise: the rider may have another customer by the time that it is looked for.
    stripe_customer_id = models.CharField(  # noqa: DJ001 - null: a ride of before this column
        max_length=255, null=True, blank=True, help_text="Whom Stripe was asked to charge."
    )
    stripe_payment_intent_id = models.CharField(max_length=255, unique=True, null=True, blank=True)
    stripe_charge_id = models.CharField(max_length=255, unique=True, null=True, blank=True)
    cancelled_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When a person had the payment taken back; empty for every other ride.",
    )

    class Meta:
        indexes = [
            # For reconciling a time range. Rides come in the order of time, so an index of a few
            # pages will do, and booking pays next to nothing for it.
            BrinIndex(fields=["created_at"], name="ride_created_at", autosummarize=True),
            # A page of a rider's rides, the latest first.
            models.Index(fields=["user", "-id"], name="ride_of_user"),
        ]
        constraints = [
            within("origin_lat", 90),
            within("origin_lon", 180),
            within("target_lat", 90),
            within("target_lon", 180),
            models.CheckConstraint(name="ride_amount_is_positive", condition=Q(amount_cents__gt=0)),
            models.CheckConstraint(
                name="ride_currency_is_an_iso_code", condition=Q(currency__regex="^[a-z]{3}$")
            ),
            models.CheckConstraint(
                name="ride_charge_has_its_payment_intent",
                condition=Q(stripe_charge_id__isnull=True)
                | Q(stripe_payment_intent_id__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"Ride {self.pk}"


class AuditRecord(models.Model):
    """Who did what to which thing, written in the transaction that did it, and never changed: the
    service's role has no right to (deploy/grants.sql).

    It holds references and amounts. What is personal stands in the rows that it refers to, where it
    can be erased (`rides.forgetting`).
    """

    class Action(models.TextChoices):
        """What is recorded today; the column takes what later code records too."""

        RIDE_CREATED = "ride.created"
        RECEIPT_SENT = "receipt.sent"
        RIDE_CANCELLED = "ride.cancelled"
        CHARGE_REFUNDED = "charge.refunded"
        USER_FORGOTTEN = "user.forgotten"
        REVIEWED_RUN_AGAIN = "review.run_again"
        REVIEWED_ADOPT = "review.adopt"
        REVIEWED_UNDO = "review.undo"
        REVIEWED_CLOSE = "review.close"
        REVIEWED_RUN_NOW = "review.run_now"
        REVIEWED_LET_GO = "review.let_go"
        REFUNDED_AGAIN = "review.refund_again"
        SETTLED_BY_HAND = "review.settle"

    action = models.CharField(max_length=50)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    data = models.JSONField(default=dict)
    resource_id = models.BigIntegerField()
    resource_type = models.CharField(max_length=50)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="audit_records")

    class Meta:
        indexes = [
            models.Index(fields=["resource_type", "resource_id"], name="audit_record_resource")
        ]
        constraints = [
            models.CheckConstraint(
                name="audit_record_names_action_and_resource",
                condition=~Q(action="") & ~Q(resource_type=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.resource_type} {self.resource_id}"


class ReconciledUntil(models.Model):
    """Where the last `reconcile --since-last` ended: what began before it had ended by then."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    until = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="reconciled_until_is_one_row"),
        ]

    def __str__(self) -> str:
        return self.until.isoformat()
