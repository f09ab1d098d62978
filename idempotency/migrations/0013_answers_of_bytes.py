from django.db import migrations, models

TABLE = "idempotency_idempotencykey"

# A text becomes the bytes that were sent for it. The table is written anew, so the API stands still
# meanwhile: half a minute for a million keys.
TO_BYTES = f"""
ALTER TABLE {TABLE} ALTER COLUMN response_body TYPE bytea USING convert_to(response_body, 'UTF8')
"""
TO_TEXT = f"""
ALTER TABLE {TABLE} ALTER COLUMN response_body TYPE text USING convert_from(response_body, 'UTF8')
"""


class Migration(migrations.Migration):
    dependencies = [
        ("idempotency", "0012_pending"),
    ]

    operations = [
        migrations.RunSQL(
            TO_BYTES,
            TO_TEXT,
            state_operations=[
                migrations.AlterField(
                    "idempotencykey",
                    "response_body",
                    models.BinaryField(blank=True, null=True),
                )
            ],
        ),
        migrations.AddField(
            "idempotencykey", "response_headers", models.JSONField(blank=True, null=True)
        ),
    ]
