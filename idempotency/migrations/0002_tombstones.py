from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("idempotency", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="idempotencykey",
            name="idempotency_key_finished_means_answered",
        ),
        migrations.RemoveIndex(
            model_name="idempotencykey",
            name="idempotency_key_reapable",
        ),
        migrations.AddIndex(
            model_name="idempotencykey",
            index=models.Index(
                condition=models.Q(
                    ("recovery_point", "finished"), ("response_body__isnull", False)
                ),
                fields=["created_at"],
                name="idempotency_key_reapable",
            ),
        ),
        migrations.AddIndex(
            model_name="idempotencykey",
            index=models.Index(
                condition=models.Q(("recovery_point", "finished"), ("response_body__isnull", True)),
                fields=["created_at"],
                name="idempotency_key_tombstone",
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
    ]
