"""Who sends the request: by an API key, by a browser's session, or, in the demonstration, by the
original's e-mail address in `Authorization`; and who logs in to the admin.

An address is no secret, so it is taken only where `DEMO_AUTH` is on, which settings allow only with
`DEBUG`.
"""

from typing import Any

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from idempotency.http.authentication import session_user
from rides.apikeys.keys import rider_with_key
from rides.demo import ADMIN_PASSWORD
from rides.models import User


def rider_of(request: HttpRequest) -> User | None:
    """Return the rider who asks, or None; one SELECT at most, besides that of a session."""
    scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer" and token.startswith("rr_"):
        return rider_with_key(token)
    return demo_rider(request) if settings.DEMO_AUTH else session_rider(request)


def demo_rider(request: HttpRequest) -> User | None:
    """Return the rider whose address the request carries, or None; one SELECT at most.

    The address stands there bare, as in the original, or as a bearer token.
    """
    credential = request.META.get("HTTP_AUTHORIZATION", "")
    scheme, _, token = credential.partition(" ")
    return demo_rider_at(token if scheme.lower() == "bearer" else credential)


def session_rider(request: HttpRequest) -> User | None:
    """Return the rider of the browser's session, or None: staff have no customer to charge."""
    user = session_user(request)
    return user if user is not None and user.stripe_customer_id else None


def demo_rider_at(address: str) -> User | None:
    """Return the rider with an e-mail address, or None; one SELECT at most."""
    # PostgreSQL refuses a NUL, and no address that validates has anything else than this in it.
    if not settings.DEMO_AUTH or not address or not (address.isascii() and address.isprintable()):
        return None
    riders = User.objects.filter(is_active=True, stripe_customer_id__isnull=False)
    return riders.filter(email=address.lower()).first()


class PasswordBackend(ModelBackend):
    """The README's password opens the demo only, also where a demo has left its admin."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **credentials: Any,
    ) -> User | None:
        if password == ADMIN_PASSWORD and not settings.EMBEDDED_POSTGRES:
            return None
        return super().authenticate(request, username, password, **credentials)
