import uuid

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
    ]
