"""Refunds and disputes become rows, and the nightly reconciliation keeps where it ended."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("rides", "0005_what_is_sent"),
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
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("settled_at__isnull", True)),
                        fields=["made_at"],
                        name="dispute_open",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("stripe_id", ""), _negated=True),
                            models.Q(("status", ""), _negated=True),
                        ),
                        name="dispute_has_an_id_and_a_status",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("currency__regex", "^[a-z]{3}$")),
                        name="dispute_currency_is_an_iso_code",
                    ),
                    models.CheckConstraint(
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
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("settled_at__isnull", False), ("settled_by", ""), _negated=True
                            ),
                            ("status__in", ("won", "warning_closed", "prevented")),
                            _connector="OR",
                        ),
                        name="dispute_is_settled_by_itself_once_it_has_ended",
                    ),
                ],
            },
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
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("settled_at__isnull", True)),
                        fields=["made_at"],
                        name="refund_open",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("stripe_id", ""), _negated=True),
                            models.Q(("status", ""), _negated=True),
                        ),
                        name="refund_has_an_id_and_a_status",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("currency__regex", "^[a-z]{3}$")),
                        name="refund_currency_is_an_iso_code",
                    ),
                    models.CheckConstraint(
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
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("settled_at__isnull", False), ("settled_by", ""), _negated=True
                            ),
                            ("status__in", ("succeeded", "failed", "canceled")),
                            _connector="OR",
                        ),
                        name="refund_is_settled_by_itself_once_it_has_ended",
                    ),
                ],
            },
        ),
    ]
