"""Three indexes: how many unfinished keys a user has, keys by their beginning, and which jobs wait
for a person.

The first two are of expressions, and none of the model's. As plain columns they would offer
themselves to statements that have better ones: the completer's would read all unfinished keys by the
first, and a request's look for its key all that have the same text by the second.
"""

from django.conf import settings
from django.db import migrations, models

UNFINISHED = """idempotency_idempotencykey
    ((CASE WHEN recovery_point <> 'finished' THEN user_id END))
 WHERE (CASE WHEN recovery_point <> 'finished' THEN user_id END) IS NOT NULL"""
BEGINNING = "idempotency_idempotencykey ((left(idempotency_key, 16)) text_pattern_ops)"
SET_ASIDE = "idempotency_jobdelivery (set_aside_at) WHERE set_aside_at IS NOT NULL"


def built(name: str, model: str, sql: str, index: models.Index | None = None) -> object:
    """Build an index while the table is written to. A run that was broken off leaves one that is
    not valid, and is repeated.
    """
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {name}"
    build = f"CREATE INDEX CONCURRENTLY {name} ON {sql}"
    return migrations.SeparateDatabaseAndState(
        database_operations=[migrations.RunSQL([drop, build], drop, hints={"model_name": model})],
        state_operations=[migrations.AddIndex(model, index)] if index else [],
    )


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("idempotency", "0001_initial"),
    ]

    operations = [
        built("idempotency_key_unfinished", "idempotencykey", UNFINISHED),
        built("idempotency_key_beginning", "idempotencykey", BEGINNING),
        built(
            *("job_delivery_set_aside", "jobdelivery", SET_ASIDE),
            models.Index(
                fields=["set_aside_at"],
                name="job_delivery_set_aside",
                condition=models.Q(set_aside_at__isnull=False),
            ),
        ),
    ]
