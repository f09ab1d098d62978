"""What all processes have counted, and which of them are alive."""

import django.db.models.functions.datetime
from django.db import migrations, models

import idempotency.watching.rows


class Migration(migrations.Migration):
    dependencies = [
        ("idempotency", "0002_indexes_of_what_is_open"),
    ]

    operations = [
        migrations.CreateModel(
            name="Overview",
            fields=[],
            options={
                "verbose_name_plural": "overview",
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("idempotency.idempotencykey",),
        ),
        migrations.CreateModel(
            name="Heartbeat",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("worker", models.CharField(max_length=50)),
                ("host", models.CharField(max_length=255)),
                ("pid", models.PositiveIntegerField()),
                ("version", models.CharField(max_length=50)),
                (
                    "started_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "seen_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("last_batch", models.TextField(blank=True, default="")),
                ("last_batch_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("worker", "host", "pid"), name="heartbeat_once_a_process"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Rollup",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("span", models.CharField(max_length=6)),
                ("at", models.DateTimeField()),
                ("what", models.CharField(max_length=20)),
                ("operation", models.CharField(max_length=255)),
                ("name", models.CharField(max_length=255)),
                ("outcome", models.CharField(max_length=100)),
                ("count", models.BigIntegerField()),
                ("seconds", models.FloatField()),
                ("buckets", idempotency.watching.rows.Buckets()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("span", "at", "what", "operation", "name", "outcome"),
                        name="rollup_series_once_in_a_span",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("span__in", ["minute", "ten", "hour"])),
                        name="rollup_of_a_known_span",
                    ),
                ],
            },
        ),
    ]
