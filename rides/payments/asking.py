"""Calls to Stripe, and their answers as plain data: all that the rest of this package says to it.

As plain data and not as objects of Stripe's client: for the few fields that are read here, to make
those took a twentieth of a request's time, and they take whatever an answer has for what it should.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any

import stripe

from idempotency.exceptions import Indeterminate
from rides.payments.client import client, verdict
from rides.payments.shapes import is_id, unexpected


@dataclass(frozen=True, slots=True)
class Answer:
    """What Stripe answered, and whether it is the first answer to the key once more."""

    data: dict[str, Any]
    is_replay: bool


def ask(method: str, path: str, *, idempotency_key: str | None = None, **parameters: Any) -> Answer:
    """Call Stripe once, and again under the same key where the answer is lost.

    Raises: stripe.StripeError, for `verdict` to judge; Indeterminate, where nothing can be read.
    """
    options = {"idempotency_key": idempotency_key} if idempotency_key else {}
    try:
        answer = client().raw_request(method, path, **parameters, **options)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # Stripe's client reads an error's parts as if they were there.
        raise Indeterminate("The payment processor's answer can't be read.") from error
    data = answer.data if isinstance(answer.data, dict) else {}  # a proxy may say anything
    return Answer(data, answer.headers.get("Idempotent-Replayed") == "true")


@contextmanager
def judging() -> Iterator[None]:
    """Have an error of Stripe's client raised as what it means.

    Raises: CardDeclined, Indeterminate, NeedsReview.
    """
    try:
        yield
    except stripe.StripeError as error:
        raise verdict(error) from error


def find(path: str, **parameters: Any) -> dict[str, Any] | None:
    """Return the object at a path; None where Stripe says that there is none.

    Raises: Indeterminate, NeedsReview.
    """
    with judging():
        try:
            return ask("get", path, **parameters).data
        except stripe.InvalidRequestError as error:
            if error.http_status == 404 and error.code == "resource_missing":
                return None
            raise


def pages(
    path: str, *, limit: int, until: float = inf, **parameters: Any
) -> Iterator[list[dict[str, Any]]]:
    """Yield a list of Stripe's, newest first, a page at a time.

    Args:
        limit: how many objects a page has at most.
        until: when, on the monotonic clock, no further page is asked for.

    Raises: Indeterminate, NeedsReview.
    """
    after: dict[str, str] = {}
    while True:
        with judging():
            page = ask("get", path, limit=limit, **parameters, **after).data
        objects = page.get("data")
        if not isinstance(objects, list):
            raise Indeterminate("The payment processor has shown no list.")
        if not all(isinstance(each, dict) and is_id(each.get("id")) for each in objects):
            raise unexpected("What is listed is not what was asked for.", objects=len(objects))
        yield objects
        if page.get("has_more") is not True or not objects:
            return
        if after.get("starting_after") == objects[-1]["id"]:
            raise Indeterminate("The payment processor shows the same page again and again.")
        if time.monotonic() > until:
            raise Indeterminate("The payment processor shows too many objects to look through.")
        after = {"starting_after": objects[-1]["id"]}
