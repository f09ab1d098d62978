"""The rides and the audit records."""

from decimal import Decimal

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [("idempotency", "0001_initial"), ("rides", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Ride",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
                ("origin_lat", models.DecimalField(decimal_places=10, max_digits=13)),
                ("origin_lon", models.DecimalField(decimal_places=10, max_digits=13)),
                ("target_lat", models.DecimalField(decimal_places=10, max_digits=13)),
                ("target_lon", models.DecimalField(decimal_places=10, max_digits=13)),
                ("amount_cents", models.PositiveIntegerField()),
                ("currency", models.CharField(max_length=3)),
                (
                    "stripe_payment_intent_id",
                    models.CharField(blank=True, max_length=255, null=True, unique=True),
                ),
                (
                    "stripe_charge_id",
                    models.CharField(blank=True, max_length=255, null=True, unique=True),
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
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(origin_lat__range=(Decimal("-90"), Decimal("90"))),
                        name="ride_origin_lat_within_90_degrees",
                    ),
                    models.CheckConstraint(
                        condition=Q(origin_lon__range=(Decimal("-180"), Decimal("180"))),
                        name="ride_origin_lon_within_180_degrees",
                    ),
                    models.CheckConstraint(
                        condition=Q(target_lat__range=(Decimal("-90"), Decimal("90"))),
                        name="ride_target_lat_within_90_degrees",
                    ),
                    models.CheckConstraint(
                        condition=Q(target_lon__range=(Decimal("-180"), Decimal("180"))),
                        name="ride_target_lon_within_180_degrees",
                    ),
                    models.CheckConstraint(
                        condition=Q(amount_cents__gt=0), name="ride_amount_is_positive"
                    ),
                    models.CheckConstraint(
                        condition=Q(currency__regex="^[a-z]{3}$"),
                        name="ride_currency_is_an_iso_code",
                    ),
                    models.CheckConstraint(
                        condition=Q(stripe_charge_id__isnull=True)
                        | Q(stripe_payment_intent_id__isnull=False),
                        name="ride_charge_has_its_payment_intent",
                    ),
                ],
            },
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
                ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
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
                        condition=~Q(action="") & ~Q(resource_type=""),
                        name="audit_record_names_action_and_resource",
                    ),
                ],
            },
        ),
    ]
