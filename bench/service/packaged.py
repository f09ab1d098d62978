"""The same ride with django-idempotency-key: as much of it as that package can express.

It stores the answer once the view has returned. What happens before that, it does not know: when
the process dies between the charge and the answer, a retry books a second ride, and of two requests
at once both run. That the card is charged once all the same is Stripe's doing, by the key sent to
it, for as long as Stripe keeps keys.
"""

from uuid import NAMESPACE_URL, uuid5

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from idempotency_key.decorators import idempotency_key

from bench.service.unsafe import accepted, create_ride, finish_ride
from rides import payments
from rides.authentication import demo_rider
from rides.forms import RideForm


@csrf_exempt
@idempotency_key
def book_ride(request: HttpRequest) -> JsonResponse:
    rider = demo_rider(request)
    if rider is None:
        return JsonResponse({"error": "Who are you?"}, status=401)
    form = RideForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors}, status=422)
    sent = f"{rider.pk}:{request.headers['Idempotency-Key']}"
    foreign_key = uuid5(NAMESPACE_URL, sent)
    ride = create_ride(request, rider, form.cleaned_data, foreign_key=foreign_key)
    charge = payments.charge(ride)
    assert isinstance(charge, payments.Charge), "no card of the benchmark's needs its holder"
    finish_ride(ride, charge)
    return accepted()


urlpatterns = [path("rides", book_ride)]
