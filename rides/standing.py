"""Whether Stripe takes us for whom we should be: asked before a deploy, and told by `/readyz`.

It is a warning and refuses nothing: a booking that Stripe refuses today is made when it is mended.
"""

from collections.abc import Iterator

from django.conf import settings

from idempotency.exceptions import IdempotencyError
from idempotency.support.described import described
from rides.payments import Identity, ask_who_we_are


def standing() -> tuple[Identity | None, list[str]]:
    """Return who we are at Stripe, as far as it says so, and in words what is wrong with that."""
    try:
        identity = ask_who_we_are()
    except IdempotencyError as error:
        return None, [f"Stripe does not say who we are: {described(error)}"]
    return identity, list(_wrong_with(identity))


def standing_warnings() -> list[str]:
    """Return in words what is wrong with our standing at Stripe."""
    return standing()[1]


def _wrong_with(identity: Identity) -> Iterator[str]:
    if not (settings.DEBUG or settings.STRIPE_STAND_IN or identity.is_live):
        yield f"Stripe is in test mode ({identity}): no card is charged."
    if identity.version != identity.version_of_code:
        yield f"Stripe answers as {identity}, this code asks for {identity.version_of_code}."
