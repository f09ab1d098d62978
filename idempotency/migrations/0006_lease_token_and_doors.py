from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("idempotency", "0005_the_reapers_position"),
    ]

    operations = [
        migrations.AlterField(
            model_name="idempotencykey", name="foreign_key", field=models.UUIDField()
        ),
    ]
