import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.functions.text
import django.db.models.lookups
from django.conf import settings
from django.db import migrations, models

# A key that loses its answer is written anew, and so is one whose recovery point moves. With a fifth
# of each page kept for that it stays in its page.
KEEP_ROOM_IN_PAGES = "ALTER TABLE idempotency_idempotencykey SET (fillfactor = 80)"
KEEP_NO_ROOM = "ALTER TABLE idempotency_idempotencykey RESET (fillfactor)"


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Doors",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False),
                ),
                (
                    "closed_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("reason", models.TextField(blank=True, default="")),
            ],
            options={
                "verbose_name_plural": "doors",
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="doors_are_one_row")
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
                ("operation", models.CharField(blank=True, db_default="", max_length=255)),
                (
                    "path_kwargs",
                    models.JSONField(blank=True, db_default=models.Value({}, models.JSONField())),
                ),
                ("request_method", models.CharField(max_length=10)),
                ("request_path", models.CharField(max_length=2048)),
                ("request_params", models.JSONField()),
                ("fingerprint", models.CharField(max_length=64)),
                ("origin_ip", models.GenericIPAddressField(blank=True, null=True)),
                ("foreign_key", models.UUIDField()),
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
                ("lease_token", models.UUIDField(default=uuid.uuid4)),
                (
                    "run_after",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("completer_attempts", models.PositiveIntegerField(db_default=0, default=0)),
                ("recovery_point", models.CharField(default="started", max_length=50)),
                ("foreign_sent_at", models.DateTimeField(blank=True, null=True)),
                ("foreign_question", models.PositiveIntegerField(db_default=0, default=0)),
                ("pending_since", models.DateTimeField(blank=True, null=True)),
                ("pending_answer", models.TextField(blank=True, null=True)),
                ("foreign_reference", models.TextField(blank=True, null=True)),
                ("gives_up_at", models.DateTimeField(blank=True, null=True)),
                ("response_code", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("response_body", models.BinaryField(blank=True, null=True)),
                ("response_content_type", models.CharField(blank=True, max_length=255, null=True)),
                ("response_headers", models.JSONField(blank=True, null=True)),
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
        ),
        migrations.CreateModel(
            name="RequestUnderReview",
            fields=[],
            options={
                "verbose_name": "request that needs review",
                "verbose_name_plural": "requests that need review",
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("idempotency.idempotencykey",),
        ),
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
                ("run_after", models.DateTimeField(blank=True, null=True)),
                ("priority", models.SmallIntegerField(blank=True, null=True)),
                ("queue_name", models.TextField(blank=True, db_default="")),
                ("backend", models.TextField(blank=True, db_default="")),
                (
                    "handed_over_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("deliveries", models.PositiveIntegerField(default=1)),
                ("lease_token", models.UUIDField(blank=True, null=True)),
                ("leased_until", models.DateTimeField(blank=True, null=True)),
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
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("lease_token__isnull", True), ("leased_until__isnull", True)),
                            models.Q(
                                ("lease_token__isnull", False), ("leased_until__isnull", False)
                            ),
                            _connector="OR",
                        ),
                        name="job_delivery_leased_until_a_time",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ReaperPosition",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False),
                ),
                ("last_run_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id", 1)), name="reaper_position_is_one_row"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ReviewDecision",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("idempotency_key_id", models.BigIntegerField()),
                ("foreign_key", models.UUIDField()),
                ("action", models.CharField(max_length=50)),
                ("reviewer", models.TextField()),
                ("reason", models.TextField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["idempotency_key_id"], name="review_decision_by_key")
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("action", ""), _negated=True),
                            models.Q(("reviewer", ""), _negated=True),
                            models.Q(("reason", ""), _negated=True),
                        ),
                        name="review_decision_says_who_what_and_why",
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
                ("run_after", models.DateTimeField(blank=True, null=True)),
                ("priority", models.SmallIntegerField(blank=True, null=True)),
                ("queue_name", models.TextField(blank=True, db_default="")),
                ("backend", models.TextField(blank=True, db_default="")),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("run_after__isnull", True)),
                        fields=["id"],
                        name="staged_job_for_now",
                    ),
                    models.Index(
                        condition=models.Q(("run_after__isnull", False)),
                        fields=["run_after"],
                        name="staged_job_for_later",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("job_name", ""), _negated=True), name="staged_job_named"
                    )
                ],
            },
        ),
        migrations.AddIndex(
            model_name="idempotencykey",
            index=models.Index(
                condition=models.Q(
                    models.Q(("recovery_point", "finished"), _negated=True),
                    ("needs_review_at__isnull", True),
                ),
                fields=["run_after"],
                name="idempotency_key_due",
            ),
        ),
        migrations.AddIndex(
            model_name="idempotencykey",
            index=models.Index(
                condition=models.Q(("recovery_point", "finished")),
                fields=["last_run_at"],
                name="idempotency_key_finished",
            ),
        ),
        migrations.AddIndex(
            model_name="idempotencykey",
            index=models.Index(
                condition=models.Q(("needs_review_at__isnull", False)),
                fields=["needs_review_at"],
                name="idempotency_key_review",
            ),
        ),
        migrations.AddConstraint(
            model_name="idempotencykey",
            constraint=models.UniqueConstraint(
                fields=("user", "idempotency_key"), name="idempotency_key_unique_per_user"
            ),
        ),
        migrations.AddConstraint(
            model_name="idempotencykey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    django.db.models.lookups.GreaterThanOrEqual(
                        django.db.models.functions.text.Length("idempotency_key"), 20
                    )
                ),
                name="idempotency_key_long_enough",
            ),
        ),
        migrations.AddConstraint(
            model_name="idempotencykey",
            constraint=models.CheckConstraint(
                condition=models.Q(("recovery_point", ""), _negated=True),
                name="idempotency_key_recovery_point_named",
            ),
        ),
        migrations.AddConstraint(
            model_name="idempotencykey",
            constraint=models.CheckConstraint(
                condition=models.Q(("attempt__gte", 1)), name="idempotency_key_attempt_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="idempotencykey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("locked_at__isnull", True),
                        ("needs_review_at__isnull", True),
                        ("recovery_point", "finished"),
                        ("response_code__isnull", False),
                        ("response_code__range", (100, 599)),
                        models.Q(
                            models.Q(
                                ("response_body__isnull", False),
                                ("response_content_type__isnull", False),
                            ),
                            models.Q(
                                ("response_body__isnull", True),
                                ("response_content_type__isnull", True),
                            ),
                            _connector="OR",
                        ),
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
        ),
        migrations.AddConstraint(
            model_name="idempotencykey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("needs_review_at__isnull", True), ("locked_at__isnull", True), _connector="OR"
                ),
                name="idempotency_key_under_review_is_not_leased",
            ),
        ),
        migrations.AddConstraint(
            model_name="idempotencykey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("foreign_reference__isnull", True),
                        ("gives_up_at__isnull", True),
                        ("pending_answer__isnull", True),
                        ("pending_since__isnull", True),
                    ),
                    models.Q(
                        models.Q(("recovery_point", "finished"), _negated=True),
                        ("foreign_reference__isnull", False),
                        ("gives_up_at__isnull", False),
                        ("pending_answer__isnull", False),
                        ("pending_since__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="idempotency_key_pending_is_whole_and_unfinished",
            ),
        ),
        migrations.RunSQL(KEEP_ROOM_IN_PAGES, KEEP_NO_ROOM),
    ]
