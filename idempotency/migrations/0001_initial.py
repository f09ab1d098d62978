import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.functions.text
import django.db.models.lookups
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="JobDelivery",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("job_id", models.UUIDField(unique=True)),
                ("job_name", models.CharField(max_length=255)),
                ("job_args", models.JSONField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "handed_over_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("deliveries", models.PositiveIntegerField(default=1)),
                ("last_error", models.TextField(blank=True, default="")),
                ("set_aside_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name_plural": "job deliveries",
                "indexes": [
                    models.Index(
                        condition=models.Q(("set_aside_at__isnull", True)),
                        fields=["handed_over_at"],
                        name="job_delivery_unsettled",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="StagedJob",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("job_id", models.UUIDField(unique=True)),
                ("job_name", models.CharField(max_length=255)),
                ("job_args", models.JSONField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("job_name", ""), _negated=True), name="staged_job_named"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("idempotency_key", models.CharField(max_length=255)),
                ("request_method", models.CharField(max_length=10)),
                ("request_path", models.CharField(max_length=2048)),
                ("request_params", models.JSONField()),
                ("fingerprint", models.CharField(max_length=64)),
                ("origin_ip", models.GenericIPAddressField(blank=True, null=True)),
                ("foreign_key", models.UUIDField(default=uuid.uuid4)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "last_run_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("locked_at", models.DateTimeField(blank=True, null=True)),
                ("attempt", models.PositiveIntegerField(default=1)),
                (
                    "run_after",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("recovery_point", models.CharField(default="started", max_length=50)),
                ("foreign_sent_at", models.DateTimeField(blank=True, null=True)),
                ("response_code", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("response_body", models.TextField(blank=True, null=True)),
                ("response_content_type", models.CharField(blank=True, max_length=255, null=True)),
                ("last_error", models.TextField(blank=True, default="")),
                ("needs_review_at", models.DateTimeField(blank=True, null=True)),
                ("journal", models.JSONField(default=list)),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(
                            models.Q(("recovery_point", "finished"), _negated=True),
                            ("needs_review_at__isnull", True),
                        ),
                        fields=["run_after"],
                        name="idempotency_key_due",
                    ),
                    models.Index(
                        condition=models.Q(("recovery_point", "finished")),
                        fields=["created_at"],
                        name="idempotency_key_reapable",
                    ),
                    models.Index(
                        condition=models.Q(("needs_review_at__isnull", False)),
                        fields=["needs_review_at"],
                        name="idempotency_key_review",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("user", "idempotency_key"), name="idempotency_key_unique_per_user"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            django.db.models.lookups.GreaterThanOrEqual(
                                django.db.models.functions.text.Length("idempotency_key"), 20
                            )
                        ),
                        name="idempotency_key_long_enough",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("recovery_point", ""), _negated=True),
                        name="idempotency_key_recovery_point_named",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("attempt__gte", 1)),
                        name="idempotency_key_attempt_positive",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("locked_at__isnull", True),
                                ("needs_review_at__isnull", True),
                                ("recovery_point", "finished"),
                                ("response_body__isnull", False),
                                ("response_code__range", (100, 599)),
                                ("response_content_type__isnull", False),
                            ),
                            models.Q(
                                models.Q(("recovery_point", "finished"), _negated=True),
                                ("response_body__isnull", True),
                                ("response_code__isnull", True),
                                ("response_content_type__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="idempotency_key_finished_means_answered",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("needs_review_at__isnull", True),
                            ("locked_at__isnull", True),
                            _connector="OR",
                        ),
                        name="idempotency_key_under_review_is_not_leased",
                    ),
                ],
            },
        ),
    ]
