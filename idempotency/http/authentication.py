"""Who is asking: the default of the `AUTHENTICATE` setting, for browsers with a session."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware


def session_user(request: HttpRequest) -> Any:
    """The user of the session, or None. A session is sent along by a browser unasked, so the
    request must pass Django's CSRF check too.
    """
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    check = CsrfViewMiddleware(lambda _: HttpResponse())
    check.process_request(request)
    refused = check.process_view(request, lambda _: HttpResponse(), (), {})
    return None if refused else user
