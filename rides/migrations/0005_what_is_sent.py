"""What is sent for a ride's payment is kept with the ride: its key, and the customer that is asked."""

from django.contrib.postgres.functions import RandomUUID
from django.db import migrations, models

# Of rides whose request is still known. Of the others nothing is asked any more.
KEEP_WHAT_WAS_SENT = """
UPDATE rides_ride AS ride
   SET foreign_key = request.foreign_key, stripe_customer_id = rider.stripe_customer_id
  FROM idempotency_idempotencykey AS request, rides_user AS rider
 WHERE request.id = ride.idempotency_key_id
   AND rider.id = ride.user_id
"""


class Migration(migrations.Migration):
    dependencies = [
        ("idempotency", "0010_operation_and_path_kwargs"),
        ("rides", "0004_public_ids"),
    ]

    operations = [
        migrations.AddField(
            model_name="ride",
            name="public_id",
            field=models.UUIDField(db_default=RandomUUID(), editable=False, unique=True),
        ),
        migrations.AddField(
            model_name="ride",
            name="foreign_key",
            field=models.UUIDField(
                blank=True,
                db_index=True,
                editable=False,
                help_text="What its payment is sent under, and looked for by.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="ride",
            name="stripe_customer_id",
            field=models.CharField(
                blank=True,
                help_text="Whom Stripe was asked to charge.",
                max_length=255,
                null=True,
            ),
        ),
        # In the transaction of the columns, which holds the table anyway.
        migrations.RunSQL(KEEP_WHAT_WAS_SENT, migrations.RunSQL.noop),
    ]
