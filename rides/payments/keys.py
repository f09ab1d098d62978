"""What a ride's payment is known by at Stripe: whom it charges, and for which request."""

from typing import Any
from uuid import UUID

from idempotency.foreign_keys import installation_mark
from rides.models import Ride

# In the metadata of a payment that was made to use a key up and takes no money (`useless`).
PLACEHOLDER = "takes_no_money"


def foreign_key_of(ride: Ride) -> UUID:
    """Return what the ride's charge is sent under, and what all of its payments bear.

    A ride without one was recorded by a release before 0005 or beside it, which sent its request's.
    """
    if ride.foreign_key is None:
        assert ride.idempotency_key, "a ride is paid for before its key can be reaped"
        return ride.idempotency_key.foreign_key
    return ride.foreign_key


def customer_of(ride: Ride) -> str:
    """Return whom Stripe is asked to charge for the ride, whoever its rider is by now."""
    customer_id = ride.stripe_customer_id or ride.user.stripe_customer_id
    assert customer_id, "only a rider can have a ride, and a rider has a customer"
    return customer_id


def marks_of(ride: Ride) -> dict[str, str]:
    """Return the metadata of each of the ride's payments, whatever question it answers."""
    return {"installation": installation_mark(), "foreign_key": str(foreign_key_of(ride))}


def bears_key_of(ride: Ride, metadata: Any) -> bool:
    return isinstance(metadata, dict) and metadata.get("foreign_key") == str(foreign_key_of(ride))
