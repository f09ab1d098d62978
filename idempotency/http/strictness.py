"""JSON has types, so they count, also where a serializer or a model would convert a value."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from idempotency.http.refusals import ParametersInvalid


def refuse_converted(name: str, sent: Any, made: Any) -> None:
    """Refuse a value of another type of JSON than what was made of it: `"7"` is not 7, nor 1 true.

    A text may become a time, a decimal, or whatever else JSON writes as text.

    Raises: `ParametersInvalid`, by the value's place.
    """
    if isinstance(sent, Mapping) and isinstance(made, Mapping):
        for key, value in sent.items():
            if key not in made:
                raise ParametersInvalid(f"{name}.{key}: is not a known field.")
            refuse_converted(f"{name}.{key}", value, made[key])
    elif isinstance(sent, list) and isinstance(made, list | tuple):
        for number, (value, result) in enumerate(zip(sent, made, strict=False)):
            refuse_converted(f"{name}[{number}]", value, result)
    elif wanted := _wanted_of(sent, made):
        raise ParametersInvalid(f"{name}: must be {wanted}.")


def _wanted_of(sent: Any, made: Any) -> str | None:
    is_number = isinstance(sent, int | Decimal) and not isinstance(sent, bool)
    if isinstance(made, bool):
        return None if isinstance(sent, bool) else "true or false"
    if isinstance(made, int | float):
        return None if is_number else "a number"
    if isinstance(made, Decimal):
        return None if is_number or isinstance(sent, str) else "a number"
    if isinstance(made, str):
        return None if isinstance(sent, str) else "a string"
    return None
