"""The client of the payment provider."""

import json
from typing import Any
from urllib.request import Request, urlopen

from django.conf import settings

from idempotency import Indeterminate


def pay(key: Any) -> str:
    """Pay once for a key. Raises: `Indeterminate` where the provider did not answer."""
    return _call(Request(f"{settings.LEDGER_URL}/payments/{key}", b"{}", method="POST"))


def find_payment(key: Any) -> str | None:
    return _call(Request(f"{settings.LEDGER_URL}/payments/{key}"))


def _call(request: Request) -> Any:
    try:
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)["id"]
    except OSError as error:
        raise Indeterminate("The ledger did not answer.") from error
