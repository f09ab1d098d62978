"""The answers for an address that nobody serves, and for a method that one does not take: JSON like
every other error of the service.

Apart from the operation's own view, which is about idempotency keys, not addresses.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import resolve
from django.views.decorators.csrf import csrf_exempt

from idempotency.http.errors import answering_errors
from idempotency.http.refusals import MethodNotAllowed
from idempotency.http.views import READING


def only_read(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Have a view that changes nothing asked by GET and HEAD, and its errors answered as all are.

    Without a CSRF token another method would get Django's page about that.
    """

    @csrf_exempt
    @answering_errors
    @wraps(view)
    def reading(request: HttpRequest, **path_kwargs: Any) -> HttpResponse:
        if request.method not in READING:
            raise MethodNotAllowed(f"{request.method} is not allowed here; use GET.", READING)
        return view(request, **path_kwargs)

    return reading


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
