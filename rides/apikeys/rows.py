"""The table of API keys. A key itself is in no row: only its public prefix, and a hash."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class ApiKey(models.Model):
    """A credential of one rider's, which is shown once, when it is made."""

    user = models.ForeignKey("rides.User", on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100, help_text="What it is for, in its owner's words.")
    prefix = models.CharField(max_length=12, unique=True, editable=False)
    # Of 256 random bits a plain SHA-256 tells nothing; a slow hash is for what people make up.
    sha256 = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: it does not.")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    # A day, and not a moment: it is written once a day, however many requests there are.
    last_used_on = models.DateField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "API key"
        constraints = [
            models.CheckConstraint(
                name="api_key_prefix_is_twelve_hex_digits",
                condition=Q(prefix__regex="^[0-9a-f]{12}$"),
            ),
            models.CheckConstraint(
                name="api_key_has_a_sha256",
                condition=Q(sha256__regex="^[0-9a-f]{64}$"),
            ),
            models.CheckConstraint(name="api_key_has_a_name", condition=~Q(name="")),
        ]

    def __str__(self) -> str:
        return f"{self.prefix} ({self.name})"
