"""From what the database's foreign keys are derived, since a change of it would charge twice."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("idempotency", "0003_what_is_watched"),
    ]

    operations = [
        migrations.CreateModel(
            name="ForeignKeyNamespace",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False),
                ),
                ("namespace", models.UUIDField()),
                (
                    "kept_since",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id", 1)), name="foreign_key_namespace_is_one_row"
                    )
                ],
            },
        ),
    ]
