"""Two indexes: how many unfinished keys a user has, and which jobs wait for a person."""

from typing import Any

from django.conf import settings
from django.db import migrations, models


def index(model: str, name: str, field: str, column: str, condition: models.Q, sql: str) -> Any:
    """Build an index while the table is written to. A run that was broken off leaves one that is
    not valid, and is repeated.
    """
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {name}"
    build = f"CREATE INDEX CONCURRENTLY {name} ON idempotency_{model} ({column}) WHERE {sql}"
    return migrations.SeparateDatabaseAndState(
        database_operations=[migrations.RunSQL([drop, build], drop, hints={"model_name": model})],
        state_operations=[
            migrations.AddIndex(model, models.Index(fields=[field], name=name, condition=condition))
        ],
    )


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("idempotency", "0001_initial"),
    ]

    operations = [
        index(
            *("idempotencykey", "idempotency_key_unfinished", "user", "user_id"),
            condition=~models.Q(recovery_point="finished"),
            sql="NOT (recovery_point = 'finished')",
        ),
        index(
            *("jobdelivery", "job_delivery_set_aside", "set_aside_at", "set_aside_at"),
            condition=models.Q(set_aside_at__isnull=False),
            sql="set_aside_at IS NOT NULL",
        ),
    ]
