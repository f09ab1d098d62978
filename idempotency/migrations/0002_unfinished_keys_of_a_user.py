"""An index for how many unfinished keys a user has."""

from django.conf import settings
from django.db import migrations, models

NAME = "idempotency_key_unfinished"
DROP = f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}"
BUILD = (
    f"CREATE INDEX CONCURRENTLY {NAME} ON idempotency_idempotencykey (user_id) "
    "WHERE NOT (recovery_point = 'finished')"
)


class Migration(migrations.Migration):
    # Requests are answered while the index is built. A run that was broken off leaves one that is
    # not valid, and is repeated.
    atomic = False

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("idempotency", "0001_initial"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL([DROP, BUILD], DROP, hints={"model_name": "idempotencykey"})
            ],
            state_operations=[
                migrations.AddIndex(
                    "idempotencykey",
                    models.Index(
                        fields=["user"],
                        name=NAME,
                        condition=~models.Q(recovery_point="finished"),
                    ),
                )
            ],
        ),
    ]
