"""Events of Stripe's that were received. A new table: the release before goes on beside it."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("rides", "0004_api_keys"),
    ]

    operations = [
        migrations.CreateModel(
            name="StripeEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("stripe_id", models.CharField(max_length=255, unique=True)),
                ("type", models.CharField(max_length=255)),
                ("object_id", models.CharField(max_length=255)),
                (
                    "received_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("stripe_id", ""), _negated=True),
                            models.Q(("type", ""), _negated=True),
                            models.Q(("object_id", ""), _negated=True),
                        ),
                        name="stripe_event_has_an_id_and_a_type",
                    )
                ],
            },
        ),
    ]
