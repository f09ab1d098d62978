from django.contrib.postgres.operations import AddConstraintNotValid, ValidateConstraint
from django.db import migrations, models
from django.db.models import Q

IS_PENDING = {
    "pending_since__isnull": False,
    "pending_answer__isnull": False,
    "foreign_reference__isnull": False,
    "gives_up_at__isnull": False,
}
IS_NOT = dict.fromkeys(IS_PENDING, True)


class Migration(migrations.Migration):
    dependencies = [
        ("idempotency", "0011_job_options"),
    ]

    # Columns that are empty or have a constant default cost no rewrite, and a process of the version before leaves them.
    operations = [
        migrations.AddField(
            "idempotencykey",
            "foreign_question",
            models.PositiveIntegerField(default=0, db_default=0),
        ),
        migrations.AddField(
            "idempotencykey", "pending_since", models.DateTimeField(blank=True, null=True)
        ),
        migrations.AddField(
            "idempotencykey", "pending_answer", models.TextField(blank=True, null=True)
        ),
        migrations.AddField(
            "idempotencykey", "foreign_reference", models.TextField(blank=True, null=True)
        ),
        migrations.AddField(
            "idempotencykey", "gives_up_at", models.DateTimeField(blank=True, null=True)
        ),
        AddConstraintNotValid(
            "idempotencykey",
            models.CheckConstraint(
                condition=Q(**IS_NOT) | (~Q(recovery_point="finished") & Q(**IS_PENDING)),
                name="idempotency_key_pending_is_whole_and_unfinished",
            ),
        ),
        ValidateConstraint("idempotencykey", "idempotency_key_pending_is_whole_and_unfinished"),
    ]
