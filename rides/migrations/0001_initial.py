"""The users alone: the idempotency key points at them, and the rides point at the key."""

from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Lower, Now


class Migration(migrations.Migration):
    initial = True

    dependencies = [("auth", "0012_alter_user_first_name_max_length")]

    operations = [
        migrations.CreateModel(
            name="User",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("password", models.CharField(max_length=128, verbose_name="password")),
                (
                    "last_login",
                    models.DateTimeField(blank=True, null=True, verbose_name="last login"),
                ),
                (
                    "is_superuser",
                    models.BooleanField(
                        default=False,
                        help_text="Designates that this user has all permissions without explicitly assigning them.",
                        verbose_name="superuser status",
                    ),
                ),
                ("email", models.EmailField(max_length=255, unique=True)),
                (
                    "stripe_customer_id",
                    models.CharField(
                        blank=True,
                        help_text="Whom Stripe charges; empty for staff.",
                        max_length=255,
                        null=True,
                        unique=True,
                    ),
                ),
                ("is_active", models.BooleanField(default=True)),
                (
                    "is_staff",
                    models.BooleanField(default=False, help_text="May log in to the admin."),
                ),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(email=Lower("email")) & ~Q(email=""),
                        name="user_email_is_lower_case_and_not_empty",
                    ),
                    models.CheckConstraint(
                        condition=Q(is_staff=True) | Q(stripe_customer_id__isnull=False),
                        name="user_is_staff_or_has_a_customer",
                        violation_error_message="A rider needs a customer at Stripe; only staff need none.",
                    ),
                    models.CheckConstraint(
                        condition=~Q(stripe_customer_id=""),
                        name="user_customer_is_not_the_empty_string",
                    ),
                ],
            },
        ),
    ]
