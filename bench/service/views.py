"""What the framework costs where nothing is promised: the credential's SELECT, one more, JSON."""

from django.http import HttpRequest, JsonResponse

from idempotency.models import IdempotencyKey
from rides.authentication import demo_rider


def plain(request: HttpRequest) -> JsonResponse:
    rider = demo_rider(request)
    if rider is None:
        return JsonResponse({"error": "Who are you?"}, status=401)
    key = request.headers.get("Idempotency-Key", "")
    known = IdempotencyKey.objects.filter(user=rider, idempotency_key=key).values("response_code")
    return JsonResponse({"email": rider.email, "known": list(known)})
