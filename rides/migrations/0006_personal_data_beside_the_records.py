"""What is personal stands with the ride and the user, where it can be erased: not in the records.

The column of the records stays for the processes of the release before, which write it until the
deploy has ended. The release after this one drops it.
"""

from django.db import migrations, models

COORDINATE = {"blank": True, "decimal_places": 10, "max_digits": 13, "null": True}


class Migration(migrations.Migration):
    dependencies = [("rides", "0005_stripe_events")]

    operations = [
        migrations.AddField(
            "user",
            "forgotten_at",
            models.DateTimeField(
                blank=True,
                editable=False,
                help_text="When `forget-user` erased who it was.",
                null=True,
            ),
        ),
        migrations.AddField(
            "ride", "origin_ip", models.GenericIPAddressField(blank=True, null=True)
        ),
        *(
            migrations.AlterField("ride", name, models.DecimalField(**COORDINATE))
            for name in ("origin_lat", "origin_lon", "target_lat", "target_lon")
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.RemoveField("auditrecord", "origin_ip")]
        ),
    ]
