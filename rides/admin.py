"""Rides, audit records and users for an operator's eyes; of these, only users can be changed."""

import re
from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.contrib.auth.forms import UserChangeForm as DjangoUserChangeForm
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from idempotency.admin import searching
from idempotency.admin.lists import (
    AgeFilter,
    KeysetAdmin,
    ReadOnlyAdmin,
    choices,
    is_id,
    link_to,
    moment_of,
)
from idempotency.admin.timeline import Trace
from idempotency.console.personal import MasksPersonalData, number_of, stand_in_for
from rides import payments
from rides.apikeys.keys import issue_key, revoke_key
from rides.formats import amount, place
from rides.models import ApiKey, AuditRecord, Dispute, Refund, Ride, User
from rides.reversals.rows import Reversal
from rides.searching import SAID, keys_of_ride

UUID_TEXT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

searching.register(SAID, keys_of_ride)

admin.site.site_header = "Rocket Rides"
admin.site.site_title = "Rocket Rides"


PaidFilter = choices(
    "payment",
    {
        "charged": ("Charged", Q(stripe_charge_id__isnull=False)),
        "not-charged": ("Not charged", Q(stripe_charge_id__isnull=True)),
    },
)
"""A ride without a charge is on its way, or its card was declined."""


@admin.register(Ride)
class RideAdmin(MasksPersonalData, ReadOnlyAdmin):
    """Where to, for whom, and which charge paid for it."""

    personal = {
        **{"user": "user_number", "origin_ip": "masked_origin_ip"},
        **{"origin": "masked_origin", "target": "masked_target"},
    }
    user_number = number_of("user")
    masked_origin_ip = stand_in_for("origin_ip")
    masked_origin = stand_in_for("origin")
    masked_target = stand_in_for("target")

    list_display = ("id", "created", "user", "fare", "stripe_charge_id", "key")
    list_filter = (PaidFilter, AgeFilter)
    list_select_related = ("user", "idempotency_key")
    search_help_text = (
        "A charge (ch_…), a payment intent (pi_…), what it was sent under (a UUID), a rider's "
        "whole e-mail address, an idempotency key, or a ride's number"
    )
    fields = (
        *("user", "created", "origin_ip", "origin", "target", "fare"),
        *("payment", "stripe_charge_id", "stripe_customer_id", "foreign_key"),
        *("public_id", "key", "audit"),
    )
    readonly_fields = (
        *("created", "origin", "target", "fare", "payment", "foreign_key", "public_id"),
        *("key", "audit"),
    )

    def matching(self, term: str) -> Q:
        if "@" in term:
            return Q(user__email=term.lower())
        if is_id(term):
            return Q(pk=term)
        if term.startswith(("ch_", "pi_")):
            return Q(stripe_charge_id=term) | Q(stripe_payment_intent_id=term)
        if UUID_TEXT.fullmatch(term):
            return Q(foreign_key=term) | Q(idempotency_key__idempotency_key=term)
        return Q(idempotency_key__idempotency_key=term)

    def traces_of(self, ride: Ride) -> Iterator[Trace]:
        """Lead from the key's page to what took the ride's money back, and to its records."""
        if ride.stripe_payment_intent_id:
            yield Trace(kind="payment", link=self.payment(ride))
        for row in (*ride.refunds.order_by("made_at"), *ride.disputes.order_by("made_at")):
            yield Trace(kind=str(row._meta.verbose_name), link=link_to(row), remark=standing(row))
        yield Trace(kind="audit", link=self.audit(ride))

    @admin.display(description="origin")
    def origin(self, ride: Ride) -> str:
        return place(ride.origin_lat, ride.origin_lon)

    @admin.display(description="target")
    def target(self, ride: Ride) -> str:
        return place(ride.target_lat, ride.target_lon)

    @admin.display(description="fare")
    def fare(self, ride: Ride) -> str:
        return amount(ride.amount_cents, ride.currency)

    @admin.display(description="idempotency key")
    def key(self, ride: Ride) -> SafeString | str:
        key = ride.idempotency_key
        return link_to(key, f"{key.recovery_point}, attempt {key.attempt}") if key else "reaped"

    @admin.display(description="at Stripe")
    def payment(self, ride: Ride) -> SafeString:
        payment_id = ride.stripe_payment_intent_id
        if not payment_id:
            return SafeString("-")
        url = payments.dashboard_url(payment_id)
        return format_html('<a href="{}" rel="noreferrer">{}</a>', url, payment_id)

    @admin.display(description="audit records")
    def audit(self, ride: Ride) -> SafeString:
        query = {"resource_type": "ride", "resource_id": ride.pk}
        url = reverse("admin:rides_auditrecord_changelist", query=query)
        return format_html('<a href="{}">Audit records of ride {}</a>', url, ride.pk)


OpenFilter = choices(
    "open",
    {
        "open": ("Open", Q(settled_at__isnull=True)),
        "settled": ("Settled", Q(settled_at__isnull=False)),
    },
)


def standing(row: Reversal) -> str:
    """Say what Stripe last said of a refund or a dispute, and who has settled it."""
    if row.is_open:
        return f"{row.status}, open"
    return f"{row.status}, settled by {row.settled_by}" if row.settled_by else row.status


OF_A_REVERSAL = (
    *("stripe_id", "of_ride", "amount", "standing", "reason", "made", "seen"),
    *("stripe_charge_id", "stripe_payment_intent_id"),
    *("settled", "settled_by", "settled_note"),
)


class ReversalAdmin(ReadOnlyAdmin):
    """What took a ride's money back, and whether it is settled; the review list has the open."""

    list_display = ("stripe_id", "made", "of_ride", "amount", "standing", "reason")
    list_filter = (OpenFilter,)
    list_select_related = ("ride",)
    search_help_text = "Its id at Stripe, a charge (ch_…), a payment (pi_…), or a ride's number"
    readonly_fields = ("of_ride", "amount", "standing", "made", "seen", "settled")
    made, seen, settled = moment_of("made_at"), moment_of("seen_at"), moment_of("settled_at")

    def matching(self, term: str) -> Q:
        if is_id(term):
            return Q(ride_id=term)
        charge = Q(stripe_charge_id=term) | Q(stripe_payment_intent_id=term)
        return Q(stripe_id=term) | charge

    @admin.display(description="ride")
    def of_ride(self, row: Reversal) -> SafeString | str:
        return link_to(row.ride) if row.ride else "unknown"

    @admin.display(description="amount")
    def amount(self, row: Reversal) -> str:
        return amount(row.amount_cents, row.currency)

    @admin.display(description="standing")
    def standing(self, row: Reversal) -> str:
        return standing(row)


@admin.register(Refund)
class RefundAdmin(ReversalAdmin):
    """Money that was sent back, by this service or in the dashboard."""

    fields = (*OF_A_REVERSAL, "is_ours")


@admin.register(Dispute)
class DisputeAdmin(ReversalAdmin):
    """Money that a rider's bank asks back."""

    fields = OF_A_REVERSAL


ActionFilter = choices(
    "action", {action: (action, Q(action=action)) for action in AuditRecord.Action.values}
)


@admin.register(AuditRecord)
class AuditRecordAdmin(MasksPersonalData, ReadOnlyAdmin):
    """Who did what, to which ride."""

    personal = {"user": "user_number"}
    user_number = number_of("user")

    list_display = ("created", "action", "resource", "user")
    list_filter = (ActionFilter, AgeFilter)
    linked_by = ("resource_type", "resource_id")
    list_select_related = ("user",)
    search_help_text = "A user's whole e-mail address, or a ride's number"
    fields = ("created", "action", "resource", "user", "data")
    readonly_fields = ("created", "resource")

    def matching(self, term: str) -> Q:
        if "@" in term:
            return Q(user__email=term.lower())
        return Q(resource_type="ride", resource_id=term) if is_id(term) else Q(pk__in=[])

    @admin.display(description="resource")
    def resource(self, record: AuditRecord) -> SafeString | str:
        if record.resource_type != "ride":
            return f"{record.resource_type} {record.resource_id}"
        return link_to(Ride(pk=record.resource_id))


class UserCreationForm(AdminUserCreationForm):
    """A new user by e-mail address; a rider also needs a customer at Stripe."""

    class Meta:
        model = User
        fields = ("email", "stripe_customer_id", "is_staff")

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()


class UserChangeForm(DjangoUserChangeForm):
    """A user's address and rights; the password has a page of its own."""

    class Meta:
        model = User
        fields = "__all__"

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()


@admin.register(User)
class UserAdmin(KeysetAdmin, DjangoUserAdmin):
    """Riders and staff. The customer of a rider is set once.

    Requests that are under way were sent to Stripe for that customer, and a retry must send the
    same again.
    """

    form = UserChangeForm
    add_form = UserCreationForm
    list_display = ("email", "stripe_customer_id", "is_active", "is_staff", "created")
    list_filter = ("is_staff", "is_active", AgeFilter)
    search_fields = KeysetAdmin.search_fields
    search_help_text = "A whole e-mail address, a customer (cus_…), or a user's number"
    ordering = ("-id",)
    created = moment_of("created_at")
    readonly_fields = ("stripe_customer_id", "last_login", "created")
    fieldsets = (
        (None, {"fields": ("email", "password", "stripe_customer_id")}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser", "groups")}),
        ("Dates", {"fields": ("created", "last_login")}),
    )
    add_fieldsets = (
        (
            None,
            {
                "fields": (
                    *("email", "stripe_customer_id", "is_staff"),
                    *("usable_password", "password1", "password2"),
                )
            },
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.readonly_fields if obj else ()

    def matching(self, term: str) -> Q:
        if is_id(term):
            return Q(pk=term)
        return Q(email=term.lower()) | Q(stripe_customer_id=term)


@admin.register(ApiKey)
class ApiKeyAdmin(KeysetAdmin):
    """Keys are made and revoked here. What was made is shown once, and changed never."""

    list_display = (
        "prefix",
        "user",
        "name",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_on",
    )
    list_select_related = ("user",)
    search_help_text = "The twelve digits before the secret, or a rider's whole e-mail address"
    fields = ("user", "name", "expires_at")
    raw_id_fields = ("user",)
    actions = ("revoke",)

    def matching(self, term: str) -> Q:
        return Q(user__email=term.lower()) if "@" in term else Q(prefix=term)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        row, key = issue_key(obj.user, obj.name, expires_at=obj.expires_at)
        obj.pk = row.pk
        self.message_user(request, f"Shown once, and stored nowhere: {key}", messages.WARNING)

    @admin.action(description="Revoke the chosen keys", permissions=["change"])
    def revoke(self, request: HttpRequest, chosen: QuerySet[ApiKey]) -> None:
        revoked = sum(revoke_key(row.prefix) for row in chosen)
        self.message_user(request, f"{revoked} revoked: they open nothing any more.")
