"""An index for a rider's pages, in place of that of the user alone."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

DROP = "DROP INDEX CONCURRENTLY IF EXISTS ride_of_user"
BUILD = "CREATE INDEX CONCURRENTLY ride_of_user ON rides_ride (user_id, id DESC)"


class Migration(migrations.Migration):
    # Rides are booked while the index is built. A run that was broken off leaves one that is not
    # valid, and is repeated.
    atomic = False

    dependencies = [("rides", "0002_rides")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL([DROP, BUILD], DROP)],
            state_operations=[
                migrations.AddIndex(
                    "ride", models.Index(fields=["user", "-id"], name="ride_of_user")
                )
            ],
        ),
        migrations.AlterField(
            "ride",
            "user",
            models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="rides",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
    ]
