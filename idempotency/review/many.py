"""One decision on many requests of the review list: those that are there for a like reason."""

import json
from collections.abc import Callable, Iterable, Iterator

from idempotency.attempts import Outcome
from idempotency.exceptions import IdempotencyError, ReviewRefused
from idempotency.models import IdempotencyKey
from idempotency.review.decisions import keys_under_review, said_of
from idempotency.support.described import described


def keys_with_reason_like(words: str) -> Iterator[IdempotencyKey]:
    """Yield those in whose reason, or evidence, the words stand; those that have waited longest
    first.
    """
    for key in keys_under_review().iterator():
        if words.casefold() in reason_of(key).casefold():
            yield key


def reason_of(key: IdempotencyKey) -> str:
    """Return why the key is on the list: the error, and the evidence that was kept with it."""
    evidence = key.journal[-1].get("evidence") if key.journal else None
    return f"{key.last_error} {json.dumps(evidence)}" if evidence else key.last_error


def decide_on_each(
    keys: Iterable[IdempotencyKey], decide: Callable[[IdempotencyKey], Outcome]
) -> Iterator[tuple[IdempotencyKey, bool, str]]:
    """Take the decision on one after the other, and yield whether it was carried out, and in words
    what it led to. One that is refused does not stop the rest.
    """
    for key in keys:
        try:
            yield key, True, said_of(decide(key))
        except (ReviewRefused, IdempotencyError) as error:
            yield key, False, described(error)
