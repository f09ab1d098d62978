"""What the shop asks of its till, over HTTP."""

import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from django.conf import settings
from idempotency import Indeterminate

TIMEOUT_SECONDS = 10


class Declined(Exception):
    """A definite no: nothing was paid, and nothing will be."""


def pay(amount_cents, *, key):
    """Pay, once for each key; return the payment's id.

    Raises: `Declined`, or `Indeterminate` where it is not known what the till did.
    """
    body = json.dumps({"amount_cents": amount_cents}).encode()
    request = Request(f"{settings.TILL_URL}/payments", body, {"Idempotency-Key": str(key)})
    try:
        with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return json.load(answer)["id"]
    except HTTPError as error:
        if error.code == 402:
            raise Declined from error
        raise Indeterminate(f"The till answered {error.code}.") from error
    except (OSError, ValueError) as error:
        raise Indeterminate("The till did not answer.") from error
