"""Parameters by a serializer of Django REST framework."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from idempotency.http.bodies import Sent
from idempotency.http.refusals import ParametersInvalid
from idempotency.http.strictness import refuse_converted


class SerializerShape:
    """The adapter of a serializer: of its fields those that can be written."""

    def __init__(self, serializer_class: Any) -> None:
        self._class = serializer_class
        self._fields = {
            name: field for name, field in serializer_class().fields.items() if not field.read_only
        }
        self.names: Collection[str] = self._fields.keys()

    def make(self, sent: Sent) -> Mapping[str, Any]:
        serializer = self._class(data=dict(sent.fields))
        _refuse_unknown("", sent.fields, serializer)
        if not serializer.is_valid():
            raise ParametersInvalid(" ".join(_said_by("", serializer.errors)))
        made = self._by_name(serializer.validated_data)
        if sent.is_json:
            _refuse_converted_fields(sent.fields, made)
        return made

    def make_only(self, sent: Sent, names: Collection[str]) -> Mapping[str, Any]:
        # Whoever has a serializer has it.
        from rest_framework.exceptions import ValidationError  # type: ignore[import-untyped]
        from rest_framework.fields import SkipField  # type: ignore[import-untyped]

        made: dict[str, Any] = {}
        for name in names:
            field = self._fields[name]
            try:
                made[name] = field.run_validation(field.get_value(dict(sent.fields)))
            except SkipField:  # it was not sent, and has no default
                continue
            except ValidationError as error:
                raise ParametersInvalid(" ".join(_said_by(name, error.detail))) from None
        if sent.is_json:
            _refuse_converted_fields(sent.fields, made)
        return made

    def _by_name(self, validated: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values by the names of the fields, which may have another source."""
        return {
            name: validated[field.source]
            for name, field in self._fields.items()
            if field.source in validated
        }


def _refuse_converted_fields(sent: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    for name, value in sent.items():
        if name in made:
            refuse_converted(name, value, made[name])


def _refuse_unknown(place: str, sent: Any, serializer: Any) -> None:
    """Refuse what a nested serializer would pass over. Raises: `ParametersInvalid`."""
    if isinstance(sent, list) and hasattr(serializer, "child"):
        for number, item in enumerate(sent):
            _refuse_unknown(f"{place}[{number}]", item, serializer.child)
    if not (isinstance(sent, Mapping) and isinstance(fields := _fields_of(serializer), Mapping)):
        return
    for name, value in sent.items():
        where = f"{place}.{name}" if place else name
        if name not in fields or fields[name].read_only:
            raise ParametersInvalid(f"{where}: is not a known field.")
        _refuse_unknown(where, value, fields[name])


def _fields_of(serializer: Any) -> Any:
    return getattr(serializer, "fields", None)


def _said_by(place: str, errors: Any) -> Iterator[str]:
    if isinstance(errors, Mapping):
        for name, inner in errors.items():
            yield from _said_by(f"{place}.{name}" if place else str(name), inner)
    elif isinstance(errors, list):
        for number, inner in enumerate(errors):
            is_nested = isinstance(inner, Mapping)
            yield from _said_by(f"{place}[{number}]" if is_nested else place, inner)
    else:
        yield f"{place}: {errors}"
