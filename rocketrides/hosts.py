"""A request under a name that is not the service's: refused like any other, in a line of JSON."""

from collections.abc import Callable

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse

from idempotency.http.errors import error_response
from rocketrides.refusals import UnknownHost


def refuse_unknown_hosts(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Refuse them before Django does, whose page of 50 KB with all settings no client can read."""

    def answer(request: HttpRequest) -> HttpResponse:
        try:
            request.get_host()
        except DisallowedHost:
            refused = UnknownHost(
                "This service has another name. Nothing was done. Ask for it by one of"
                " those in ALLOWED_HOSTS."
            )
            return error_response(refused, request.headers.get("Accept", ""))
        return get_response(request)

    return answer
