import uuid

import django.db.models.functions.datetime
from django.db import migrations, models

# Only a key that is not finished is ever compared by its token. So the large rest of the table gets
# one token for all, which costs no rewrite of it, and these few get one each.
DRAW_TOKENS = """
UPDATE idempotency_idempotencykey SET lease_token = gen_random_uuid() WHERE recovery_point <> 'finished'
"""


class Migration(migrations.Migration):
    dependencies = [
        ("idempotency", "0005_the_reapers_position"),
    ]

    operations = [
        migrations.AddField(
            model_name="idempotencykey",
            name="lease_token",
            field=models.UUIDField(default=uuid.uuid4),
        ),
        migrations.RunSQL(DRAW_TOKENS, migrations.RunSQL.noop),
        migrations.AlterField(
            model_name="idempotencykey", name="foreign_key", field=models.UUIDField()
        ),
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
    ]
