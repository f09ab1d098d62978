"""The answer for an address that nobody serves: JSON like every other error of the service.

Apart from the operation's own view, which is about idempotency keys, not addresses.
"""

from django.http import HttpRequest, JsonResponse
from django.urls import resolve
from django.views.decorators.csrf import csrf_exempt


@csrf_exempt
def not_found(request: HttpRequest) -> JsonResponse:
    """Answer 404, and name the right address where only a trailing slash is off."""
    path = request.path_info
    neighbour = path[:-1] if path.endswith("/") else f"{path}/"
    is_served = neighbour and resolve(neighbour).func is not not_found
    hint = f" Did you mean {neighbour}?" if is_served else ""
    return JsonResponse(
        {
            "error": f"There is nothing at this address.{hint}",
            "code": "not_found",
            "retryable": False,
        },
        status=404,
    )
