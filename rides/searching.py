"""How a request is found by its ride: by the ride's public id, or by what paid for it."""

from django.db.models import Q

from idempotency.admin.searching import MOST_FOUND, uuids_from
from rides.models import Ride

SAID = "that of a charge (ch_…), a payment (pi_…) or a ride's public id"


def keys_of_ride(term: str) -> list[int]:
    """Return the numbers of the keys of the rides that a search term names."""
    if term.startswith("ch_"):
        named = Q(stripe_charge_id__startswith=term)
    elif term.startswith("pi_"):
        named = Q(stripe_payment_intent_id__startswith=term)
    elif between := uuids_from(term):
        named = Q(public_id__range=between) | Q(foreign_key__range=between)
    else:
        return []
    rides = Ride.objects.filter(named, idempotency_key__isnull=False)
    return list(rides.values_list("idempotency_key_id", flat=True)[:MOST_FOUND])
