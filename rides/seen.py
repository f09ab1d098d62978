"""What a rider sees of their rides: one, and all of them, page by page. Nothing here writes.

A ride is known to its rider by its public id; one of another rider's is not there.
"""

from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import TooManyFieldsSent
from django.db.models import F, Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse

from idempotency.exceptions import IdempotencyError
from idempotency.http.refusals import ParametersInvalid
from idempotency.http.views import authenticate
from idempotency.models import FINISHED
from rides.models import Refund, Ride, User
from rides.views import only_read

PAGE = 20
LONGEST_PAGE = 100


class PageForm(forms.Form):
    """Which page: how many rides, and before which one."""

    limit = forms.IntegerField(min_value=1, max_value=LONGEST_PAGE, required=False)
    before = forms.UUIDField(required=False)


class RideUnknown(IdempotencyError):
    """The rider has no such ride."""

    status, code = 404, "not_found"


@only_read
def show_ride(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """Answer one ride of the asking rider's, or 404."""
    ride = _rides_of(authenticate(request)).filter(public_id=public_id).first()
    if ride is None:
        raise RideUnknown("There is no such ride of yours.")
    return JsonResponse(shown(ride))


@only_read
def list_rides(request: HttpRequest) -> HttpResponse:
    """Answer the asking rider's rides, the latest first: `{"rides", "next"}`.

    `next` is the address of the page after, or null. A ride that is booked meanwhile moves none.
    """
    rider: User = authenticate(request)
    limit, before = _page_of(request)
    rides = _rides_of(rider).order_by("-id")
    if before:
        last = Ride.objects.filter(user=rider, public_id=before).values_list("id").first()
        if last is None:
            raise ParametersInvalid("before: There is no such ride of yours.")
        rides = rides.filter(id__lt=last[0])
    page, more = list(rides[: limit + 1]), None
    if len(page) > limit:
        more = f"/rides?limit={limit}&before={page[limit - 1].public_id}"
    return JsonResponse({"rides": [shown(ride) for ride in page[:limit]], "next": more})


def shown(ride: Any) -> dict[str, Any]:
    """Return a ride as its rider sees it: places in degrees, amounts in minor units."""
    return {
        "id": str(ride.public_id),
        "status": status_of(ride),
        "created_at": ride.created_at.isoformat(),
        "origin": {"lat": _degrees(ride.origin_lat), "lon": _degrees(ride.origin_lon)},
        "target": {"lat": _degrees(ride.target_lat), "lon": _degrees(ride.target_lon)},
        "amount_cents": ride.amount_cents,
        "currency": ride.currency,
        "refunded_cents": sum(refund.amount_cents for refund in ride.refunded),
    }


def status_of(ride: Any) -> str:
    """Return what became of a ride. Its request may be known no more: then it has ended."""
    if ride.cancelled_at:
        return "cancelled"
    if ride.stripe_charge_id:
        return "paid"
    return "not_paid" if ride.request_stands_at in (FINISHED, None) else "in_progress"


def _rides_of(rider: User) -> QuerySet[Any]:
    refunded = Prefetch("refunds", Refund.objects.filter(status="succeeded"), to_attr="refunded")
    rides = Ride.objects.filter(user=rider).prefetch_related(refunded)
    return rides.annotate(request_stands_at=F("idempotency_key__recovery_point"))


def _page_of(request: HttpRequest) -> tuple[int, UUID | None]:
    """Raises: `ParametersInvalid`."""
    try:
        form = PageForm(request.GET)
    except TooManyFieldsSent:
        raise ParametersInvalid("The query has too many fields.") from None
    # One who has lost its place would begin again with the first page, and so for ever.
    said = [f"{name}: is empty." for name in form.fields if request.GET.get(name) == ""]
    if not form.is_valid():
        said += [f"{name}: {' '.join(map(str, errors))}" for name, errors in form.errors.items()]
    if said:
        raise ParametersInvalid(" ".join(said))
    return form.cleaned_data["limit"] or PAGE, form.cleaned_data["before"]


def _degrees(value: Any) -> str:
    return f"{value.normalize():f}"
