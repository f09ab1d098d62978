from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("idempotency", "0006_lease_token_and_doors"),
    ]

    operations = [
        migrations.AddField(
            model_name="jobdelivery",
            name="lease_token",
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="jobdelivery",
            name="leased_until",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddConstraint(
            model_name="jobdelivery",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("lease_token__isnull", True), ("leased_until__isnull", True)),
                    models.Q(("lease_token__isnull", False), ("leased_until__isnull", False)),
                    _connector="OR",
                ),
                name="job_delivery_leased_until_a_time",
            ),
        ),
    ]
