"""The same ride with django-idempotency-key: as much of it as that package can express.

It stores the answer once the view has returned. What happens before that, it does not know: when
the process dies between the charge and the answer, a retry books a second ride, and of two requests
at once both run. That the card is charged once all the same is Stripe's doing, by the key sent to
it, for as long as Stripe keeps keys.
"""

from uuid import NAMESPACE_URL, uuid5

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from idempotency_key.decorators import idempotency_key

from idempotency import stage_job
from rides import payments
from rides.authentication import demo_rider
from rides.forms import RideForm
from rides.models import AuditRecord, Ride
from rides.operations import CURRENCY, FARE_CENTS
from rides.tasks import send_ride_receipt


@csrf_exempt
@idempotency_key
def book_ride(request: HttpRequest) -> JsonResponse:
    rider = demo_rider(request)
    if rider is None:
        return JsonResponse({"error": "Who are you?"}, status=401)
    form = RideForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors}, status=422)
    coordinates = {name: form.cleaned_data[name] for name in form.fields if name != "raise_error"}
    with transaction.atomic():
        sent = f"{rider.pk}:{request.headers['Idempotency-Key']}"
        ride = Ride.objects.create(
            user=rider,
            foreign_key=uuid5(NAMESPACE_URL, sent),
            stripe_customer_id=rider.stripe_customer_id,
            amount_cents=FARE_CENTS,
            currency=CURRENCY,
            **coordinates,
        )
        AuditRecord.objects.create(
            action=AuditRecord.Action.RIDE_CREATED,
            data={name: str(value) for name, value in coordinates.items()},
            origin_ip=request.META["REMOTE_ADDR"],
            resource_id=ride.pk,
            resource_type="ride",
            user=rider,
        )
    charge = payments.charge(ride)
    with transaction.atomic():
        Ride.objects.filter(pk=ride.pk).update(
            stripe_charge_id=charge.id, stripe_payment_intent_id=charge.payment_intent_id
        )
        stage_job(
            send_ride_receipt,
            ride_id=ride.pk,
            amount_cents=FARE_CENTS,
            currency=CURRENCY,
            user_id=rider.pk,
        )
    return JsonResponse({"message": "Payment accepted. Your pilot is on their way!"}, status=201)


urlpatterns = [path("rides", book_ride)]
