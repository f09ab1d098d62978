from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST
from idempotency import idempotent

from hotel.authentication import guest_of
from hotel.models import Trip, Wish


@require_GET
def my_trips(request):
    trips = Trip.objects.filter(guest=guest_of(request)).order_by("id")
    return JsonResponse({"trips": list(trips.values("room__name", "flight", "status"))})


@csrf_exempt
@require_POST
@idempotent
def make_wish(request):
    guest = guest_of(request)
    Wish.objects.create(guest=guest, text=request.POST["text"])
    return JsonResponse({"wishes": guest.wish_set.count()}, status=201)
