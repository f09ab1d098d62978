"""The address to which Stripe sends its events."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from idempotency import doors
from idempotency.http.bodies import read_bytes, refuse_unread_body
from idempotency.http.errors import answering_errors
from idempotency.http.refusals import MethodNotAllowed
from rides.payments import EventRefused, read_event
from rides.views import not_found
from rides.webhooks.receiving import receive

MAX_EVENT_BYTES = 256 * 1024
"""The largest have a dispute's evidence, of 150,000 characters (Stripe's docs, "Evidence")."""


def refuse_unread(request: HttpRequest) -> None:
    """Refuse what can be refused without the body.

    Raises: `MethodNotAllowed`, `LengthRequired`, `BodyTooLarge`, `BodyMalformed`,
    `ContentTypeUnsupported`, `EventRefused`.
    """
    if request.method != "POST":
        raise MethodNotAllowed(f"{request.method} is not allowed here; use POST.")
    refuse_unread_body(request, limit=MAX_EVENT_BYTES)
    if not request.headers.get("Stripe-Signature"):
        raise EventRefused("The header Stripe-Signature is missing. Nothing was done.")


@csrf_exempt
@answering_errors
def stripe_webhook(request: HttpRequest) -> HttpResponse:
    """Answer 200 once an event is written down, together with what it asks for.

    Any other answer has Stripe send it again, for three days.
    """
    if not settings.STRIPE_WEBHOOK_SECRETS:
        return not_found(request)
    refuse_unread(request)
    doors.refuse_while_closed()
    body, signature = read_bytes(request), request.headers["Stripe-Signature"]
    receive(read_event(body, signature, settings.STRIPE_WEBHOOK_SECRETS))
    return JsonResponse({"received": True})


# For the door, which reads the body.
stripe_webhook.refuse_unread = refuse_unread  # type: ignore[attr-defined]
stripe_webhook.max_body_bytes = MAX_EVENT_BYTES  # type: ignore[attr-defined]
