"""Signing in by password, which an address may fail at ten times in a quarter of an hour.

django-axes counts (the settings' `AXES_…`); here is whom it counts, and what it answers.
"""

import math
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from idempotency.exceptions import IdempotencyError
from idempotency.http.errors import error_response
from idempotency.http.origins import origin_ip


class TooManyRequests(IdempotencyError):
    """One address, or one credential, sent more than it may. Nothing was done."""

    status, code, retryable = 429, "too_many_requests", True


def address_of(request: HttpRequest) -> str:
    """Return what failures are counted by: the client's address, or its network by IPv6, of which
    one client has a whole /64 (as in deploy/haproxy.cfg).
    """
    address = ip_address(origin_ip(request) or "::")
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False).network_address)
    return str(address)


def refuse(request: HttpRequest, *_: Any) -> HttpResponse:
    """Answer who may not sign in for now: with a page, or in JSON who asks for no page."""
    seconds = int(settings.AXES_COOLOFF_TIME.total_seconds())
    refused = TooManyRequests(
        "Too many wrong passwords came from this address. Nobody is signed in. "
        f"Try again in {math.ceil(seconds / 60)} minutes.",
        retry_after_seconds=seconds,
    )
    if not request.accepts("text/html"):
        return error_response(refused, request.headers.get("Accept", ""))
    page = render(request, "rides/refused.html", {"message": refused.message}, status=429)
    page.headers["Retry-After"] = str(seconds)
    return page
