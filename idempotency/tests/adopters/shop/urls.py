from django.http import HttpRequest, JsonResponse
from django.urls import path
from shop.models import Note
from shop.operations import PlaceOrder

from idempotency import idempotent


@idempotent
def write_note(request: HttpRequest) -> JsonResponse:
    note = Note.objects.create(text=request.POST["text"])
    return JsonResponse({"text": Note.objects.get(pk=note.pk).text}, status=201)


urlpatterns = [path("orders", PlaceOrder.as_view()), path("notes", write_note)]
