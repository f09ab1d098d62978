"""A value as JSON that loses nothing, and back as a value that cannot be changed.

What a form made of a request is kept this way, so that every attempt gets it without the form. Open
it to see which types a parameter may have.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NoReturn
from uuid import UUID

from django.apps import apps
from django.db import router
from django.db.models import Model, QuerySet
from django.utils.dateparse import parse_duration
from django.utils.duration import duration_string

from idempotency.exceptions import ParameterNotKept, Parked

Reference = tuple[str, Any]
"""An instance: its model's label and its primary key."""

# Exactly these types: of a subclass, such as an enumeration's member, the rest would be lost.
_WRITTEN_AS_TEXT: dict[type, tuple[str, Callable[[Any], str]]] = {
    float: ("float", repr),
    Decimal: ("decimal", str),
    datetime: ("datetime", datetime.isoformat),
    date: ("date", date.isoformat),
    time: ("time", time.isoformat),
    timedelta: ("duration", duration_string),
    UUID: ("uuid", str),
}
_READ_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "float": float,
    "decimal": Decimal,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "duration": parse_duration,
    "uuid": UUID,
}

# PostgreSQL stores neither NUL nor half of a surrogate pair.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


class FrozenDict(dict[str, Any]):
    """A dict that cannot be changed. A dict all the same, so that it can be written as JSON."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("What a request asked for cannot be changed. Copy it first: dict(...).")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        # A dict is copied item by item, which this one refuses.
        return type(self), (dict(self),)


def keep(name: str, value: Any) -> Any:
    """Return the value of a parameter as JSON.

    Strings, numbers, true, false and none, dates, times, durations, UUIDs, model instances, and
    lists, querysets and dicts of those.

    Raises: `ParameterNotKept` for anything else.
    """
    kind = type(value)
    if value is None or kind in (bool, int):
        return value
    if kind is str:
        return _storable(name, value)
    if kind in _WRITTEN_AS_TEXT:
        tag, write = _WRITTEN_AS_TEXT[kind]
        return {tag: write(value)}
    if isinstance(value, Model):
        return _reference_to(name, value)
    if isinstance(value, list | tuple | QuerySet):
        return [keep(name, item) for item in value]
    if isinstance(value, dict):
        # In pairs: a JSON object in the database has its names in an order of its own.
        return {"dict": [[_key(name, key), keep(name, item)] for key, item in value.items()]}
    raise ParameterNotKept(
        f"{name!r} is a {kind.__module__}.{kind.__qualname__}, which cannot be kept for the "
        "attempts to come. Have the form's clean() make a value of it that can."
    )


def restore(kept: Any, instance_of: Callable[[Reference], Any]) -> Any:
    """Return a kept value as it was, but that it cannot be changed: a list is a tuple.

    Args:
        instance_of: gives the instance of a reference.

    Raises: `Parked` for what another version of this code has kept.
    """
    if isinstance(kept, list):
        return tuple(restore(item, instance_of) for item in kept)
    if not isinstance(kept, dict):
        return kept
    if "model" in kept:
        return instance_of(_reference_in(kept))
    [(tag, content)] = kept.items()
    if tag == "dict":
        return FrozenDict({name: restore(item, instance_of) for name, item in content})
    if tag not in _READ_FROM_TEXT:
        raise Parked(f"This version of the service cannot read a kept {tag!r}.")
    return _READ_FROM_TEXT[tag](content)


def references_in(kept: Any) -> Iterator[Reference]:
    """Yield the instances that a kept value consists of."""
    if isinstance(kept, list):
        for item in kept:
            yield from references_in(item)
    elif isinstance(kept, dict) and "model" in kept:
        yield _reference_in(kept)
    elif isinstance(kept, dict) and "dict" in kept:
        for _, item in kept["dict"]:
            yield from references_in(item)


def readable(kept: Any) -> Any:
    """Return a kept value without its types: texts, and lists and dicts of texts.

    For people, for a record of your own, and for the URL's arguments in a fingerprint.
    """
    if isinstance(kept, list):
        return [readable(item) for item in kept]
    if not isinstance(kept, dict):
        return kept
    if "model" in kept:
        return f"{kept['model']} {readable(kept['pk'])}"
    tag, content = next(iter(kept.items()))
    if tag == "dict":
        return {name: readable(item) for name, item in content}
    return content if tag in _READ_FROM_TEXT else kept


def find_instances(references: Iterator[Reference]) -> dict[Reference, Model]:
    """Read instances, each model's in one query. What does not exist is not in the result.

    Raises: `Parked` where this code has no such model.
    """
    by_model: dict[str, list[Any]] = {}
    for label, pk in references:
        by_model.setdefault(label, []).append(pk)
    found: dict[Reference, Model] = {}
    for label, pks in by_model.items():
        # The base manager: the default one may hide rows that the form was allowed to choose. From
        # where they are written: a replica may not have the row yet, which would seem to be gone.
        model = _model(label)
        rows = model._base_manager.using(router.db_for_write(model)).filter(pk__in=pks)
        found |= {(label, instance.pk): instance for instance in rows}
    return found


def _reference_to(name: str, instance: Model) -> dict[str, Any]:
    if instance.pk is None:
        raise ParameterNotKept(
            f"{name!r} is a {instance._meta.label} that is not saved, so it cannot be kept for the "
            "attempts to come. Have a phase save it."
        )
    return {"model": instance._meta.label_lower, "pk": keep(name, instance.pk)}


def _reference_in(kept: Mapping[str, Any]) -> Reference:
    return kept["model"], restore(kept["pk"], lambda reference: reference)


def _model(label: str) -> type[Model]:
    try:
        return apps.get_model(label)
    except LookupError:
        raise Parked(f"This version of the service has no model {label}.") from None


def _key(name: str, key: Any) -> str:
    if type(key) is not str:
        raise ParameterNotKept(
            f"{name!r} has a dict with {key!r} as a key, a {type(key).__qualname__}. Only texts "
            "can be kept as keys."
        )
    return _storable(name, key)


def _storable(name: str, text: str) -> str:
    if _UNSTORABLE.search(text):
        raise ParameterNotKept(
            f"{name!r} has a text with a NUL character or half of one, which the database cannot "
            "keep."
        )
    return text
