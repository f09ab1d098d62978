"""Parameters by a pydantic model, such as a `Schema` of Django Ninja."""

import json
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from idempotency.http.bodies import Sent
from idempotency.http.refusals import ParametersInvalid
from idempotency.http.strictness import refuse_converted


class SchemaShape:
    """The adapter of a model. It is asked for JSON, so that times and UUIDs are read from texts."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.names = {field.alias or name: name for name, field in model.model_fields.items()}

    def make(self, sent: Sent) -> Mapping[str, Any]:
        return self._made_by(self._model, sent)

    def make_only(self, sent: Sent, names: Collection[str]) -> Mapping[str, Any]:
        from pydantic import create_model  # whoever has a model has it

        own = {alias: name for alias, name in self.names.items() if name in names}
        fields: dict[str, Any] = {
            name: (self._model.model_fields[name].annotation, self._model.model_fields[name])
            for name in own.values()
        }
        some = Sent({k: v for k, v in sent.fields.items() if k in own}, is_json=sent.is_json)
        return self._made_by(create_model("Some", **fields), some)

    def _made_by(self, model: Any, sent: Sent) -> Mapping[str, Any]:
        try:
            if sent.is_json:
                made = model.model_validate_json(json.dumps(_with_all_digits(sent.fields)))
            else:
                made = model.model_validate(dict(sent.fields))
        except ValueError as error:  # pydantic's own is one, and what a validator raises as well
            raise ParametersInvalid(_said_by(error)) from None
        values: dict[str, Any] = made.model_dump()
        if sent.is_json:
            for alias, value in sent.fields.items():
                refuse_converted(alias, value, values[self.names[alias]])
        return values


def _with_all_digits(value: Any) -> Any:
    """Return a value that JSON can write, of which a decimal field loses no digit: pydantic reads a
    number with a fraction as a float, and a text digit by digit.
    """
    if isinstance(value, Mapping):
        return {name: _with_all_digits(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_all_digits(item) for item in value]
    if not isinstance(value, Decimal):
        return value
    rounded = float(value)
    return rounded if Decimal(repr(rounded)) == value else str(value)


def _said_by(error: Any) -> str:
    if not hasattr(error, "errors"):
        return str(error)
    return " ".join(
        f"{'.'.join(map(str, each['loc'])) or 'the body'}: {each['msg']}."
        for each in error.errors()
    )
