"""Form-encoded parameters as Stripe reads them: nested names in, checked values out.

Stripe's clients send `metadata[ride_id]=1` and `expand[0]=latest_charge`; this is the one place
with the encoding and the messages for values that do not fit.
"""

import hashlib
import re
from typing import Any
from urllib.parse import parse_qsl

from sandbox.stripe.errors import invalid, missing_parameter

MAX_FIELDS = 1_000
METADATA_KEYS = 50
METADATA_KEY_LENGTH = 40
METADATA_VALUE_LENGTH = 500

_NESTED_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])+)")


class Parameters:
    """The parameters of one call; each reader raises `Refused` for a value that does not fit."""

    def __init__(self, values: dict[str, Any], prefix: str = "") -> None:
        self._values = values
        self._prefix = prefix

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def allow(self, *names: str) -> None:
        """Refuse every parameter that is not in `names`, as Stripe does."""
        for name in self._values:
            if name not in names:
                param = self._full(name)
                raise invalid(
                    f"Received unknown parameter: {param}", code="parameter_unknown", param=param
                )

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        if isinstance(value, dict):
            raise invalid(f"Invalid string: {self._full(name)}", param=self._full(name))
        return value or None

    def required_text(self, name: str) -> str:
        if name not in self._values:
            raise missing_parameter(self._full(name))
        value = self.text(name)
        if value is None:
            raise invalid(
                f"You passed an empty string for '{self._full(name)}'. "
                "We assume empty values are an attempt to unset a parameter; "
                f"however '{self._full(name)}' cannot be unset.",
                code="parameter_invalid_empty",
                param=self._full(name),
            )
        return value

    def choice(self, name: str, *choices: str) -> str | None:
        value = self.text(name)
        if value is not None and value not in choices:
            expected = ", ".join(choices)
            raise invalid(f"Invalid {name}: must be one of {expected}", param=self._full(name))
        return value

    def integer(self, name: str) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        if not re.fullmatch(r"-?[0-9]{1,18}", value):
            raise invalid(
                f"Invalid integer: {value}",
                code="parameter_invalid_integer",
                param=self._full(name),
            )
        return int(value)

    def required_integer(self, name: str) -> int:
        self.required_text(name)
        value = self.integer(name)
        assert value is not None
        return value

    def flag(self, name: str) -> bool:
        """Read a boolean; absent means false."""
        value = self.text(name)
        if value not in (None, "true", "false"):
            raise invalid(f"Invalid boolean: {value}", param=self._full(name))
        return value == "true"

    def is_nested(self, name: str) -> bool:
        return isinstance(self._values.get(name), dict)

    def nested(self, name: str) -> "Parameters":
        value = self._values.get(name, {})
        if value == "":
            value = {}
        if not isinstance(value, dict):
            raise invalid("Invalid object", param=self._full(name))
        return Parameters(value, self._full(name))

    def listed(self, name: str) -> list[str]:
        nested = self.nested(name)
        return [nested.required_text(index) for index in nested._values]

    def metadata(self, current: dict[str, str]) -> dict[str, str]:
        """`current` with the call's changes: an empty value removes its key."""
        given = self.nested("metadata")
        merged = {} if self._values.get("metadata") == "" else dict(current)
        for key in given._values:
            merged[key] = given.text(key) or ""
        merged = {key: value for key, value in merged.items() if value}
        _check_metadata(merged)
        return merged

    def _full(self, name: str) -> str:
        return f"{self._prefix}[{name}]" if self._prefix else name


def decode(encoded: bytes) -> Parameters:
    """Read a query string or a form body.

    Raises:
        Refused: undecodable bytes, too many fields, or a name that contradicts itself.
    """
    values: dict[str, Any] = {}
    for name, value in _pairs(encoded):
        if "[" in name:
            _put_nested(values, name, value)
        else:
            values[name] = value
    return Parameters(values)


def fingerprint(encoded: bytes) -> str:
    """Return a fingerprint, the same for the same parameters in any order of names."""
    pairs = sorted(_pairs(encoded), key=lambda pair: pair[0])
    return hashlib.sha256(repr(pairs).encode()).hexdigest()


def _pairs(encoded: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            encoded.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError as error:
        raise invalid("Invalid request: the parameters could not be decoded.") from error


def _put_nested(values: dict[str, Any], name: str, value: str) -> None:
    match = _NESTED_NAME.fullmatch(name)
    if match is None:
        raise invalid(f"Invalid parameter name: {name}", param=name)
    path = [match[1], *match[2][1:-1].split("][")]
    for step in path[:-1]:
        values = values.setdefault(step, {})
        if not isinstance(values, dict):
            raise invalid(f"Invalid object: {name}", param=match[1])
    # `expand[]=a&expand[]=b` numbers itself.
    values[path[-1] or str(len(values))] = value


def _check_metadata(metadata: dict[str, str]) -> None:
    if len(metadata) > METADATA_KEYS:
        raise invalid(f"Metadata can have up to {METADATA_KEYS} keys.", param="metadata")
    for key, value in metadata.items():
        if len(key) > METADATA_KEY_LENGTH:
            raise invalid(
                f"Metadata keys can have up to {METADATA_KEY_LENGTH} characters.", param="metadata"
            )
        if len(value) > METADATA_VALUE_LENGTH:
            raise invalid(
                f"Metadata values can have up to {METADATA_VALUE_LENGTH} characters.",
                param=f"metadata[{key}]",
            )
