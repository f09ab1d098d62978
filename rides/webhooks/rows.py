"""The table of the events that were received: an id that is in it is answered, and nothing else.

It is the service's model like those in `rides.models`, which lists it.
"""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class StripeEvent(models.Model):
    """An event of Stripe's, written down in the transaction that staged what it asks for."""

    stripe_id = models.CharField(max_length=255, unique=True)
    type = models.CharField(max_length=255)
    object_id = models.CharField(max_length=255)
    received_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="stripe_event_has_an_id_and_a_type",
                condition=~Q(stripe_id="") & ~Q(type="") & ~Q(object_id=""),
            ),
        ]

    def __str__(self) -> str:
        return self.stripe_id
