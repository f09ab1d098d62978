"""Copies that are handed to a phase, so that what it does to them is not there when it runs again.

After a roll-back everything in memory is read again or made anew. These two cannot be: the key as
it was claimed, and what a foreign call answered, which is not asked for twice.
"""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from typing import Any

from idempotency.models import IdempotencyKey


def untouched(key: IdempotencyKey) -> IdempotencyKey:
    """Return a copy that shares nothing with the key, and has read nothing that it points at."""
    loaded = [f.attname for f in key._meta.concrete_fields if f.attname in key.__dict__]
    values = (key.__dict__[name] for name in loaded)
    copies = [deepcopy(each) if isinstance(each, dict | list) else each for each in values]
    return type(key).from_db(key._state.db, loaded, copies)


def as_it_was(outcome: Any) -> Callable[[], Any]:
    """Return what hands out a foreign call's outcome, each time as the call left it.

    A result is copied. An error is the same each time, with its attributes as they were: a copy of
    it would be made by its `__init__`, whose arguments nobody kept. What cannot be copied, such as
    an open connection, is handed out as it is: nothing that was answered is lost for its sake.
    """
    if not isinstance(outcome, BaseException):
        return lambda: copied(outcome)
    attributes = {name: copied(value) for name, value in vars(outcome).items()}

    def as_it_was_raised() -> BaseException:
        vars(outcome).clear()
        vars(outcome).update({name: copied(value) for name, value in attributes.items()})
        return outcome

    return as_it_was_raised


def copied(value: Any) -> Any:
    """Return a deep copy, or the value itself where there can be none."""
    with suppress(Exception):
        return deepcopy(value)
    return value
