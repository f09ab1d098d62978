"""What the hotel asks of its two partners, over HTTP."""

import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from django.conf import settings
from idempotency import Indeterminate

TIMEOUT_SECONDS = 10


class Refused(Exception):
    """A definite no: nothing was booked, and nothing will be."""


def book_room(room, *, key):
    """Book a room, once for each key; return the booking's id."""
    answer = _call("POST", f"{settings.ROOMS_URL}/bookings", {"room": room}, key)
    return answer["id"]


def cancel_room(*, key):
    """Cancel what was booked under a key, and have nothing be booked under it any more."""
    _call("DELETE", f"{settings.ROOMS_URL}/bookings/{key}")


def buy_ticket(flight, *, reference):
    """Buy a ticket, one more with each call; return its id."""
    sent = {"flight": flight, "reference": str(reference)}
    return _call("POST", f"{settings.FLIGHTS_URL}/tickets", sent)["id"]


def find_ticket(*, reference):
    """Return the id of the ticket that was bought with a reference, or None."""
    found = _call("GET", f"{settings.FLIGHTS_URL}/tickets/{reference}")
    return found[0]["id"] if found else None


def void_reference(*, reference):
    """Give back what was bought with a reference, and have nothing be bought with it any more."""
    _call("DELETE", f"{settings.FLIGHTS_URL}/tickets/{reference}")


def _call(method, url, body=None, key=None):
    """Raises: `Refused`, or `Indeterminate` where it is not known what the partner did."""
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Idempotency-Key"] = str(key)
    data = None if body is None else json.dumps(body).encode()
    try:
        request = Request(url, data, headers, method=method)
        with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return json.load(answer)
    except HTTPError as error:
        if error.code == 409:
            raise Refused from error
        raise Indeterminate(f"A partner answered {error.code}.") from error
    except (OSError, ValueError) as error:
        raise Indeterminate("A partner did not answer.") from error
