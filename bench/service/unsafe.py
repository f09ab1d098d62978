"""The same ride as a plain view by the ORM, as a Django project has it without an app for this.

Nothing is promised: a retry books and charges again, and a process that ends between the charge and
its record leaves a payment that no row shows. What `ours` takes besides is what safety costs.
"""

from typing import Any
from uuid import uuid4

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from idempotency.models import StagedJob
from rides import payments
from rides.authentication import demo_rider
from rides.forms import RideForm
from rides.models import AuditRecord, Ride, User
from rides.operations import CURRENCY, FARE_CENTS
from rides.tasks import send_ride_receipt


@csrf_exempt
@require_POST
def book_ride(request: HttpRequest) -> JsonResponse:
    rider = demo_rider(request)
    if rider is None:
        return JsonResponse({"error": "Who are you?"}, status=401)
    form = RideForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors}, status=422)
    ride = create_ride(request, rider, form.cleaned_data)
    ride.foreign_key = uuid4()  # for this call only, as Stripe's client draws one by itself
    try:
        charge = payments.charge(ride)
    except payments.CardDeclined as error:
        return JsonResponse({"error": str(error)}, status=402)
    assert isinstance(charge, payments.Charge), "no card of the benchmark's needs its holder"
    finish_ride(ride, charge)
    return accepted()


@transaction.atomic
def create_ride(
    request: HttpRequest, rider: User, coordinates: dict[str, Any], **fields: Any
) -> Ride:
    """Write the ride with its audit record."""
    ride = Ride.objects.create(
        user=rider,
        stripe_customer_id=rider.stripe_customer_id,
        amount_cents=FARE_CENTS,
        currency=CURRENCY,
        origin_ip=request.META["REMOTE_ADDR"],
        **coordinates,
        **fields,
    )
    AuditRecord.objects.create(
        action=AuditRecord.Action.RIDE_CREATED,
        data={"amount_cents": FARE_CENTS, "currency": CURRENCY},
        resource_id=ride.pk,
        resource_type="ride",
        user=rider,
    )
    return ride


@transaction.atomic
def finish_ride(ride: Ride, charge: payments.Charge) -> None:
    """Write what the ride was paid by, and stage its receipt."""
    Ride.objects.filter(pk=ride.pk).update(
        stripe_charge_id=charge.id, stripe_payment_intent_id=charge.payment_intent_id
    )
    StagedJob.objects.create(
        job_id=uuid4(),
        job_name=send_ride_receipt.module_path,
        job_args={
            "args": [],
            "kwargs": {
                "ride_id": ride.pk,
                "amount_cents": FARE_CENTS,
                "currency": CURRENCY,
                "user_id": ride.user_id,
            },
        },
    )


def accepted() -> JsonResponse:
    return JsonResponse({"message": "Payment accepted. Your pilot is on their way!"}, status=201)
