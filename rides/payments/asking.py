"""Calls to Stripe, and their answers as plain data: all that the rest of this package says to it.

As plain data and not as objects of Stripe's client, which take whatever an answer has for what it
should have.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any, ParamSpec

import stripe

from idempotency.exceptions import Indeterminate
from rides.payments.client import client, is_missing, retry_after_seconds, verdict
from rides.payments.shapes import is_id, unexpected
from rides.payments.transport import AnswerTooLong

Sent = ParamSpec("Sent")

PAUSES_SECONDS = (1, 2, 4, 8, 16, 32)
LONGEST_PAUSE_SECONDS = 60

# What Stripe's client raises over an answer whose parts are not there, are of another type, or are
# nested too deeply: it reads them as if they were as documented.
UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class TooManyToLookThrough(Indeterminate):
    """The time for a list was up before its end."""


class Page(list[dict[str, Any]]):
    """Objects of a list of Stripe's, and whether the list ends with them."""

    is_last = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What Stripe answered: the JSON of an object, and the fields of the head."""

    data: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def is_replay(self) -> bool:
        """Say whether it is the first answer to the key once more."""
        return self.headers.get("Idempotent-Replayed") == "true"


def ask(
    call: Callable[Sent, stripe.StripeObject], *sent: Sent.args, **options: Sent.kwargs
) -> Answer:
    """Call a service of Stripe's client, which sends again under the same key if an answer is lost.

    Raises: stripe.StripeError, for `verdict` to judge; Indeterminate, where nothing can be read.
    """
    try:
        answer: Any = call(*sent, **options).last_response
    except UNREADABLE as error:
        raise Indeterminate("The payment processor's answer can't be read.") from error
    return Answer(answer.data, answer.headers)


@contextmanager
def judging() -> Iterator[None]:
    """Have an error of Stripe's client raised as what it means.

    Raises: CardDeclined, Indeterminate, NeedsReview.
    """
    try:
        yield
    except stripe.StripeError as error:
        raise verdict(error) from error


def patient(call: Callable[Sent, stripe.StripeObject]) -> Callable[Sent, stripe.StripeObject]:
    """Return the call for those who have time: where Stripe's rate limit refuses it, it waits."""

    def wait_and_call(*sent: Sent.args, **options: Sent.kwargs) -> stripe.StripeObject:
        for pause in PAUSES_SECONDS:
            try:
                return call(*sent, **options)
            except stripe.RateLimitError as error:
                time.sleep(min(max(pause, retry_after_seconds(error) or 0), LONGEST_PAUSE_SECONDS))
        return call(*sent, **options)

    return wait_and_call


def refuse_to_begin_after(last_call_at: float) -> None:
    """Refuse to begin a call whose end the time of a foreign phase may not leave room for.

    Args:
        last_call_at: on the monotonic clock.

    Raises: Indeterminate.
    """
    if time.monotonic() > last_call_at:
        raise Indeterminate("There was no time left to ask the payment processor for the rest.")


def find(
    retrieve: Callable[..., stripe.StripeObject], object_id: str, **parameters: Any
) -> dict[str, Any] | None:
    """Return the object with an id; None where Stripe says that there is none.

    Raises: Indeterminate, NeedsReview.
    """
    with judging():
        try:
            return ask(retrieve, object_id, parameters).data
        except stripe.InvalidRequestError as error:
            if is_missing(error):
                return None
            raise


def cancel(payment_id: str) -> None:
    """Cancel a payment; one that cannot be canceled, or is so already, stays as it is.

    Under a key that is drawn for this call: to cancel twice is to cancel once, and a key of its own
    would only repeat an error that was saved under it.

    Raises: stripe.StripeError, for `verdict` to judge; Indeterminate.
    """
    try:
        ask(client().v1.payment_intents.cancel, payment_id)
    except stripe.StripeError as error:
        if error.code != "payment_intent_unexpected_state":
            raise


def pages(
    list_objects: Callable[..., stripe.StripeObject],
    *,
    limit: int,
    until: float = inf,
    **parameters: Any,
) -> Iterator[Page]:
    """Yield a list of Stripe's, newest first, a page at a time.

    Where a page has more than is read of an answer, as of objects with much metadata, it and those
    after it are asked for with a tenth of the objects.

    Args:
        limit: how many objects a page has at most.
        until: when, on the monotonic clock, no further page is asked for.

    Raises: TooManyToLookThrough, Indeterminate, NeedsReview.
    """
    after: dict[str, str] = {}
    while True:
        if time.monotonic() > until:
            raise TooManyToLookThrough("The payment processor shows too many to look through.")
        with judging():
            try:
                shown = ask(list_objects, {"limit": limit, **parameters, **after}).data
            except AnswerTooLong:
                if limit == 1:
                    raise
                limit = max(limit // 10, 1)
                continue
        page = _page_in(shown)
        yield page
        if page.is_last:
            return
        if after.get("starting_after") == page[-1]["id"]:
            raise Indeterminate("The payment processor shows the same page again and again.")
        after = {"starting_after": page[-1]["id"]}


def _page_in(shown: dict[str, Any]) -> Page:
    objects = shown.get("data")
    if not isinstance(objects, list):
        raise Indeterminate("The payment processor has shown no list.")
    if not all(isinstance(each, dict) and is_id(each.get("id")) for each in objects):
        raise unexpected("What is listed is not what was asked for.", objects=len(objects))
    page = Page(objects)
    page.is_last = shown.get("has_more") is not True or not objects
    return page
