"""How a request is found by its ride: by the ride's number or public id, or by what paid for it."""

from django.db.models import Q

from idempotency.admin.lists import is_id
from idempotency.admin.searching import MOST_FOUND, uuids_from
from rides.models import Ride

SAID = "that of a charge (ch_…), a payment (pi_…) or a ride's public id, a ride's number"


def keys_of_ride(term: str) -> list[int]:
    """Return the numbers of the keys of the rides that a search term names."""
    if term.startswith("ch_"):
        named = Q(stripe_charge_id__startswith=term)
    elif term.startswith("pi_"):
        named = Q(stripe_payment_intent_id__startswith=term)
    else:
        named = _numbered(term) | _of_uuid(term)
    if not named:
        return []
    rides = Ride.objects.filter(named, idempotency_key__isnull=False)
    return list(rides.values_list("idempotency_key_id", flat=True)[:MOST_FOUND])


def _numbered(term: str) -> Q:
    return Q(pk=term) if is_id(term) else Q()


def _of_uuid(term: str) -> Q:
    """Six digits and more may be both: a ride's number, and the beginning of a UUID."""
    if (between := uuids_from(term)) is None:
        return Q()
    return Q(public_id__range=between) | Q(foreign_key__range=between)
