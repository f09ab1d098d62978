"""Booking in a browser: a web form with a hidden idempotency key, so that Submit books once.

The last part of the article, "beyond APIs". The key stands in the form's own address, so pressing
Submit twice, going back and submitting again, or reloading the form or the answer all send the same
key, and the operation behind it is the API's own.
"""

import json
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from idempotency.exceptions import IdempotencyError
from idempotency.http.bodies import Sent
from idempotency.http.refusals import Unauthenticated
from idempotency.http.rereading import raising_answers
from idempotency.phases import PENDING_STATUS
from rides import demo
from rides.authentication import demo_rider_at
from rides.operations import CreateRide
from rides.views import not_found

PLACES = {
    "origin_lat": "37.7793",
    "origin_lon": "-122.4193",
    "target_lat": "37.8199",
    "target_lon": "-122.4783",
}
RIDERS = list(demo.RIDERS)

# What the form has besides the parameters.
NOT_PARAMETERS = {"csrfmiddlewaretoken", "idempotency_key", "rider"}


@csrf_exempt  # where there is no form, nobody is told of its token
def book_a_ride(request: HttpRequest) -> HttpResponse:
    """Show the form, or book by it. In the demo only, where an address is a credential."""
    if not settings.DEMO_AUTH or request.method not in ("GET", "HEAD", "POST"):
        return not_found(request)
    return _answer(request)


@csrf_protect
def _answer(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        # A browser that goes back may ask for the form anew, and must not get another key.
        if not (key := request.GET.get("key")):
            return redirect(f"{request.path}?key={uuid4()}")
        return _show_form(request, {**PLACES, "rider": RIDERS[0], "idempotency_key": key})
    try:
        with raising_answers():
            answer = _submit(request)
    except IdempotencyError as error:
        return _show_error(request, error)
    if answer.status_code == PENDING_STATUS:
        return _show_pending(request, json.loads(answer.content))
    replayed = answer.headers.get("Idempotent-Replayed") == "true"
    return _show_answer(request, answer.status_code, json.loads(answer.content), replayed=replayed)


def _submit(request: HttpRequest) -> HttpResponse:
    rider = demo_rider_at(request.POST.get("rider", ""))
    if rider is None:
        raise Unauthenticated("This rider is not known.")
    key = request.POST.get("idempotency_key", "")
    submitted = {k: v for k, v in request.POST.items() if k not in NOT_PARAMETERS}
    return CreateRide.call(user=rider, key=key, params=Sent(submitted), request=request)


def _show_form(request: HttpRequest, values: dict[str, Any]) -> HttpResponse:
    return render(request, "rides/form.html", {"values": values, "riders": RIDERS})


def _show_answer(
    request: HttpRequest, status: int, body: dict[str, Any], *, replayed: bool
) -> HttpResponse:
    context = {"message": body.get("message") or body["error"], "is_booked": status < 400}
    return render(request, "rides/answer.html", {**context, "replayed": replayed}, status=status)


def _show_pending(request: HttpRequest, body: dict[str, Any]) -> HttpResponse:
    """What the rider is to do, and a button that asks what became of it: the same request again."""
    context = {
        "message": body["message"],
        "bank_page": (body.get("next_action") or {}).get("url"),
        "is_pending": True,
        "values": _sent(request),
        "retryable": True,
    }
    return render(request, "rides/answer.html", context, status=PENDING_STATUS)


def _sent(request: HttpRequest) -> dict[str, Any]:
    return {k: v for k, v in request.POST.items() if k != "csrfmiddlewaretoken"}


def _show_error(request: HttpRequest, error: IdempotencyError) -> HttpResponse:
    """An error, with a button that sends the same form again, where that can help."""
    context = {"message": str(error), "values": _sent(request), "retryable": error.retryable}
    return render(request, "rides/answer.html", context, status=error.status)
