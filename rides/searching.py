"""How a request is found by its ride: by the ride's number or public id, or by what paid for it."""

import re

from django.db.models import Q

from idempotency.admin.searching import MOST_FOUND
from rides.models import Ride

UUID_TEXT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

SAID = "the beginning of a charge (ch_…) or a payment (pi_…), a ride's public id"


def keys_of_ride(term: str) -> list[int]:
    """Return the numbers of the keys of the rides that a search term names."""
    if term.startswith("ch_"):
        named = Q(stripe_charge_id__startswith=term)
    elif term.startswith("pi_"):
        named = Q(stripe_payment_intent_id__startswith=term)
    elif UUID_TEXT.fullmatch(term):
        named = Q(public_id=term) | Q(foreign_key=term)
    else:
        return []
    rides = Ride.objects.filter(named, idempotency_key__isnull=False)
    return list(rides.values_list("idempotency_key_id", flat=True)[:MOST_FOUND])
