"""What points at the idempotency keys, whose own tables need the users first."""

from decimal import Decimal

import django.contrib.postgres.functions
import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("idempotency", "0001_initial"),
        ("rides", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="ReconciledUntil",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False),
                ),
                ("until", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id", 1)), name="reconciled_until_is_one_row"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Ride",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "public_id",
                    models.UUIDField(
                        db_default=django.contrib.postgres.functions.RandomUUID(),
                        editable=False,
                        unique=True,
                    ),
                ),
                (
                    "foreign_key",
                    models.UUIDField(
                        blank=True,
                        db_index=True,
                        editable=False,
                        help_text="What its payment is sent under, and looked for by.",
                        null=True,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("origin_lat", models.DecimalField(decimal_places=10, max_digits=13)),
                ("origin_lon", models.DecimalField(decimal_places=10, max_digits=13)),
                ("target_lat", models.DecimalField(decimal_places=10, max_digits=13)),
                ("target_lon", models.DecimalField(decimal_places=10, max_digits=13)),
                ("amount_cents", models.PositiveIntegerField()),
                ("currency", models.CharField(max_length=3)),
                (
                    "stripe_customer_id",
                    models.CharField(
                        blank=True,
                        help_text="Whom Stripe was asked to charge.",
                        max_length=255,
                        null=True,
                    ),
                ),
                (
                    "stripe_payment_intent_id",
                    models.CharField(blank=True, max_length=255, null=True, unique=True),
                ),
                (
                    "stripe_charge_id",
                    models.CharField(blank=True, max_length=255, null=True, unique=True),
                ),
                (
                    "cancelled_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="When a person had the payment taken back; empty for every other ride.",
                        null=True,
                    ),
                ),
                (
                    "idempotency_key",
                    models.OneToOneField(
                        help_text="The request that booked it; empty once the key is reaped.",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="ride",
                        to="idempotency.idempotencykey",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="rides",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Refund",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("stripe_id", models.CharField(max_length=255, unique=True)),
                ("stripe_payment_intent_id", models.CharField(max_length=255, null=True)),
                ("stripe_charge_id", models.CharField(db_index=True, max_length=255, null=True)),
                ("amount_cents", models.PositiveBigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("status", models.CharField(help_text="As Stripe last said.", max_length=50)),
                ("reason", models.CharField(blank=True, default="", max_length=255)),
                ("made_at", models.DateTimeField(help_text="By Stripe's clock.")),
                (
                    "seen_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("settled_at", models.DateTimeField(null=True)),
                (
                    "settled_by",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="Empty where it ended well by itself.",
                        max_length=255,
                    ),
                ),
                ("settled_note", models.TextField(blank=True, default="")),
                (
                    "is_ours",
                    models.BooleanField(help_text="Made by this service, not in the dashboard."),
                ),
                (
                    "ride",
                    models.ForeignKey(
                        help_text="Empty where the charge is no ride's, as after a loss of rows.",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="%(class)ss",
                        to="rides.ride",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Dispute",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("stripe_id", models.CharField(max_length=255, unique=True)),
                ("stripe_payment_intent_id", models.CharField(max_length=255, null=True)),
                ("stripe_charge_id", models.CharField(db_index=True, max_length=255, null=True)),
                ("amount_cents", models.PositiveBigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("status", models.CharField(help_text="As Stripe last said.", max_length=50)),
                ("reason", models.CharField(blank=True, default="", max_length=255)),
                ("made_at", models.DateTimeField(help_text="By Stripe's clock.")),
                (
                    "seen_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("settled_at", models.DateTimeField(null=True)),
                (
                    "settled_by",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="Empty where it ended well by itself.",
                        max_length=255,
                    ),
                ),
                ("settled_note", models.TextField(blank=True, default="")),
                (
                    "ride",
                    models.ForeignKey(
                        help_text="Empty where the charge is no ride's, as after a loss of rows.",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="%(class)ss",
                        to="rides.ride",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="AuditRecord",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("action", models.CharField(max_length=50)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("data", models.JSONField(default=dict)),
                (
                    "origin_ip",
                    models.GenericIPAddressField(
                        help_text="Where the request came from; empty for what a job did.",
                        null=True,
                    ),
                ),
                ("resource_id", models.BigIntegerField()),
                ("resource_type", models.CharField(max_length=50)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="audit_records",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        fields=["resource_type", "resource_id"], name="audit_record_resource"
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("action", ""), _negated=True),
                            models.Q(("resource_type", ""), _negated=True),
                        ),
                        name="audit_record_names_action_and_resource",
                    )
                ],
            },
        ),
        migrations.AddIndex(
            model_name="ride",
            index=django.contrib.postgres.indexes.BrinIndex(
                autosummarize=True, fields=["created_at"], name="ride_created_at"
            ),
        ),
        migrations.AddConstraint(
            model_name="ride",
            constraint=models.CheckConstraint(
                condition=models.Q(("origin_lat__range", (Decimal("-90"), Decimal("90")))),
                name="ride_origin_lat_within_90_degrees",
            ),
        ),
        migrations.AddConstraint(
            model_name="ride",
            constraint=models.CheckConstraint(
                condition=models.Q(("origin_lon__range", (Decimal("-180"), Decimal("180")))),
                name="ride_origin_lon_within_180_degrees",
            ),
        ),
        migrations.AddConstraint(
            model_name="ride",
            constraint=models.CheckConstraint(
                condition=models.Q(("target_lat__range", (Decimal("-90"), Decimal("90")))),
                name="ride_target_lat_within_90_degrees",
            ),
        ),
        migrations.AddConstraint(
            model_name="ride",
            constraint=models.CheckConstraint(
                condition=models.Q(("target_lon__range", (Decimal("-180"), Decimal("180")))),
                name="ride_target_lon_within_180_degrees",
            ),
        ),
        migrations.AddConstraint(
            model_name="ride",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_cents__gt", 0)), name="ride_amount_is_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="ride",
            constraint=models.CheckConstraint(
                condition=models.Q(("currency__regex", "^[a-z]{3}$")),
                name="ride_currency_is_an_iso_code",
            ),
        ),
        migrations.AddConstraint(
            model_name="ride",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("stripe_charge_id__isnull", True),
                    ("stripe_payment_intent_id__isnull", False),
                    _connector="OR",
                ),
                name="ride_charge_has_its_payment_intent",
            ),
        ),
        migrations.AddIndex(
            model_name="refund",
            index=models.Index(
                condition=models.Q(("settled_at__isnull", True)),
                fields=["made_at"],
                name="refund_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("stripe_id", ""), _negated=True),
                    models.Q(("status", ""), _negated=True),
                ),
                name="refund_has_an_id_and_a_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(("currency__regex", "^[a-z]{3}$")),
                name="refund_currency_is_an_iso_code",
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("settled_by", ""), ("settled_note", "")),
                    models.Q(
                        ("settled_at__isnull", False),
                        models.Q(("settled_by", ""), _negated=True),
                        models.Q(("settled_note", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="refund_is_settled_by_somebody_who_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("settled_at__isnull", False), ("settled_by", ""), _negated=True),
                    ("status__in", ("succeeded", "failed", "canceled")),
                    _connector="OR",
                ),
                name="refund_is_settled_by_itself_once_it_has_ended",
            ),
        ),
        migrations.AddIndex(
            model_name="dispute",
            index=models.Index(
                condition=models.Q(("settled_at__isnull", True)),
                fields=["made_at"],
                name="dispute_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="dispute",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("stripe_id", ""), _negated=True),
                    models.Q(("status", ""), _negated=True),
                ),
                name="dispute_has_an_id_and_a_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="dispute",
            constraint=models.CheckConstraint(
                condition=models.Q(("currency__regex", "^[a-z]{3}$")),
                name="dispute_currency_is_an_iso_code",
            ),
        ),
        migrations.AddConstraint(
            model_name="dispute",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("settled_by", ""), ("settled_note", "")),
                    models.Q(
                        ("settled_at__isnull", False),
                        models.Q(("settled_by", ""), _negated=True),
                        models.Q(("settled_note", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="dispute_is_settled_by_somebody_who_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="dispute",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("settled_at__isnull", False), ("settled_by", ""), _negated=True),
                    ("status__in", ("won", "warning_closed", "prevented")),
                    _connector="OR",
                ),
                name="dispute_is_settled_by_itself_once_it_has_ended",
            ),
        ),
    ]
