"""Three indexes: how many unfinished keys a user has, keys by their beginning, and which jobs wait
for a person.
"""

from django.conf import settings
from django.db import migrations, models

UNFINISHED = models.Index(
    fields=["user"],
    name="idempotency_key_unfinished",
    condition=~models.Q(recovery_point="finished"),
)
TEXT = models.Index(
    fields=["idempotency_key"], name="idempotency_key_text", opclasses=["varchar_pattern_ops"]
)
SET_ASIDE = models.Index(
    fields=["set_aside_at"],
    name="job_delivery_set_aside",
    condition=models.Q(set_aside_at__isnull=False),
)


def built(model: str, index: models.Index, sql: str) -> migrations.SeparateDatabaseAndState:
    """Build an index while the table is written to. A run that was broken off leaves one that is
    not valid, and is repeated.
    """
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}"
    build = f"CREATE INDEX CONCURRENTLY {index.name} ON idempotency_{model} {sql}"
    return migrations.SeparateDatabaseAndState(
        database_operations=[migrations.RunSQL([drop, build], drop, hints={"model_name": model})],
        state_operations=[migrations.AddIndex(model, index)],
    )


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("idempotency", "0001_initial"),
    ]

    operations = [
        built("idempotencykey", UNFINISHED, "(user_id) WHERE NOT (recovery_point = 'finished')"),
        built("idempotencykey", TEXT, "(idempotency_key varchar_pattern_ops)"),
        built("jobdelivery", SET_ASIDE, "(set_aside_at) WHERE set_aside_at IS NOT NULL"),
    ]
