"""Who sends the request, in the demonstration: the original's e-mail address in `Authorization`.

An address is no secret, so this works only where `DEMO_AUTH` is on, which settings allow only with
`DEBUG`. A real service names its own function in `IDEMPOTENCY["AUTHENTICATE"]`.
"""

from django.conf import settings
from django.http import HttpRequest

from idempotency.authentication import session_user
from rides.models import User

# Written out, as each request begins with it: for the ORM to write it takes longer than to run it.
RIDER_AT = """
SELECT id, email, stripe_customer_id
  FROM rides_user
 WHERE email = %s AND is_active AND stripe_customer_id IS NOT NULL
"""


def demo_rider(request: HttpRequest) -> User | None:
    """Return the rider whose address the request carries, or None; one SELECT at most."""
    return demo_rider_at(request.headers.get("Authorization", ""))


def session_rider(request: HttpRequest) -> User | None:
    """Return the rider of the browser's session, or None: staff have no customer to charge."""
    user = session_user(request)
    return user if user is not None and user.stripe_customer_id else None


def demo_rider_at(address: str) -> User | None:
    """Return the rider with an e-mail address, or None; one SELECT at most."""
    # PostgreSQL refuses a NUL, and no address that validates has anything else than this in it.
    if not settings.DEMO_AUTH or not address or not (address.isascii() and address.isprintable()):
        return None
    return next(iter(User.objects.raw(RIDER_AT, [address.lower()])), None)
