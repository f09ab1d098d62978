"""The body of a request, read strictly: as a form or as JSON, field by field.

What is repeated or can't be stored is refused here, by name; what is of another type than the
operation's form wants, before the form sees it.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

from django import forms
from django.http import HttpRequest, QueryDict

from idempotency import conf
from idempotency.http.refusals import (
    BodyMalformed,
    BodyTooLarge,
    ContentTypeUnsupported,
    LengthRequired,
    ParametersInvalid,
)

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

MAX_FIELDS = 100
MAX_NESTING = 50


@dataclass(frozen=True, slots=True)
class Sent:
    """The fields of a request as they came: the texts of a form, or the values of a JSON body."""

    fields: Mapping[str, Any]
    is_json: bool = False


def read_body(request: HttpRequest) -> Sent:
    """The body's fields, read without the operation's form.

    Raises: `BodyTooLarge`, `LengthRequired`, `ContentTypeUnsupported`, `BodyMalformed`,
    `ParametersInvalid`.
    """
    refuse_unread_body(request)
    text = _as_text(read_bytes(request))
    if request.content_type == JSON:
        return Sent(_read_json(text), is_json=True)
    return Sent(_read_form(text))


def sent_by_code(params: Mapping[str, Any]) -> Sent:
    """Return the fields of a request that did not come by HTTP, as a JSON body would have them.

    Raises: `ParametersInvalid` for a value that has no form in JSON, by its name.
    """
    return Sent({name: _as_in_json(name, value) for name, value in params.items()}, is_json=True)


def sent_by_form(params: QueryDict) -> Sent:
    """Return the fields of a form that a framework has read.

    Raises: `ParametersInvalid` for a name that is repeated, and for a file.
    """
    pairs = [(name, value) for name, values in params.lists() for value in values]
    for name, value in pairs:
        if not isinstance(value, str):
            raise ParametersInvalid(f"{name}: a file cannot be sent.")
    return Sent(_without_repetition(pairs))


def _as_in_json(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float | Decimal) and math.isfinite(value):
        return Decimal(str(value))
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _as_in_json(name, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_in_json(name, item) for item in value]
    kind = type(value).__name__
    raise ParametersInvalid(f"{name}: a {kind} has no form in JSON; give what a client would send.")


def refuse_unread_body(request: HttpRequest, *, limit: int | None = None) -> int:
    """Refuse a body by what its head says of it; return its announced length in bytes.

    Args:
        limit: the most bytes that it may have, if not `MAX_BODY_BYTES`.

    Raises: `BodyTooLarge`, `LengthRequired`, `BodyMalformed`, `ContentTypeUnsupported`.
    """
    limit, announced = limit or conf.current().max_body_bytes, _announced_length(request)
    if announced > limit:
        raise BodyTooLarge(f"The body is larger than {limit} bytes.")
    if announced and request.content_type not in (FORM, JSON):
        raise ContentTypeUnsupported(
            f"The content type {request.content_type!r} is not supported; send {FORM} or {JSON}."
        )
    return announced


def read_bytes(request: HttpRequest) -> bytes:
    """Read the whole body, which Django then keeps. No more is read than was announced.

    Raises: `BodyMalformed` where it is shorter, or its client is gone.
    """
    announced = _announced_length(request)
    try:
        body: bytes = request.body
    except OSError:
        raise BodyMalformed("The body could not be read to its end.") from None
    if len(body) < announced:
        raise BodyMalformed("The body is shorter than its Content-Length.")
    return body


def _announced_length(request: HttpRequest) -> int:
    if "HTTP_TRANSFER_ENCODING" in request.META:
        # Django reads a body to its announced length, so of one in chunks it would see nothing.
        raise LengthRequired("The body must be sent with a Content-Length, not in chunks.")
    header = request.META.get("CONTENT_LENGTH") or "0"
    if not (header.isascii() and header.isdecimal() and len(header) < 20):
        raise BodyMalformed("The Content-Length is not a number.")
    return int(header)


def _as_text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise BodyMalformed("The body is not UTF-8.") from None


def _read_form(text: str) -> dict[str, Any]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except UnicodeDecodeError:
        raise BodyMalformed("A field of the body is not UTF-8.") from None
    except ValueError:
        raise BodyMalformed(f"The body has more than {MAX_FIELDS} fields.") from None
    return _without_repetition(pairs)


def _read_json(text: str) -> dict[str, Any]:
    try:
        parsed = json.loads(
            text,
            parse_float=Decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=_without_repetition,
        )
    except (ValueError, ArithmeticError, RecursionError):  # a number out of all range, nesting
        raise BodyMalformed("The body is not valid JSON.") from None
    if not isinstance(parsed, dict):
        raise BodyMalformed("The body must be a JSON object.")
    return parsed


def refuse_other_json_types(sent: Sent, fields: Mapping[str, forms.Field]) -> dict[str, Any]:
    """The fields that were sent as a form of these fields wants them. Raises: `ParametersInvalid`.

    JSON has types, so they count. A form's texts are left as they are.
    """
    if not sent.is_json:
        return dict(sent.fields)
    return {name: _as_submitted(name, v, fields.get(name)) for name, v in sent.fields.items()}


def _as_submitted(name: str, value: Any, field: forms.Field | None) -> Any:
    """A value of a JSON body as the form wants it: a document as text, its names in one order."""
    if field is not None:
        _refuse_other_json_type(name, value, field)
    if isinstance(field, forms.JSONField) and value is not None:
        return json.dumps(value, sort_keys=True, default=float)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _without_repetition(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ParametersInvalid(f"{shown(name)}: is given more than once.")
        found[name] = value
    return found


def _refuse_other_json_type(name: str, value: Any, field: forms.Field) -> None:
    """JSON has types, so they count: `"1.5"` is not a number, and `"false"` would be true."""
    if value is None or isinstance(field, forms.JSONField):
        return
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    if isinstance(field, forms.BooleanField):
        fits, wanted = isinstance(value, bool), "true or false"
    elif isinstance(field, forms.IntegerField):  # DecimalField and FloatField are ones too
        fits, wanted = is_number, "a number"
    elif isinstance(field, forms.MultipleChoiceField | forms.ModelMultipleChoiceField):
        fits, wanted = isinstance(value, list), "a list"
    elif isinstance(field, forms.ModelChoiceField):
        fits, wanted = isinstance(value, str) or is_number, "a string or a number"
    else:
        fits, wanted = isinstance(value, str), "a string"
    if not fits:
        raise ParametersInvalid(f"{name}: must be {wanted}.")


def refuse_deep_nesting(sent: Sent) -> None:
    """Refuse what is nested without end, before anything walks through it.

    Raises: `ParametersInvalid`.
    """
    for name, value in sent.fields.items():
        for _ in _texts_in(name, value):
            pass


def refuse_unstorable_texts(sent: Sent) -> None:
    """Refuse what PostgreSQL cannot store. Raises: `ParametersInvalid`."""
    for name, value in sent.fields.items():
        _refuse_unstorable_text(name, value)


def _refuse_unstorable_text(name: str, value: Any) -> None:
    """PostgreSQL stores neither NUL nor half a surrogate pair."""
    for text in _texts_in(name, value):
        if "\x00" in text:
            raise ParametersInvalid(f"{name}: contains a NUL character.")
        if not text.isascii() and re.search(r"[\ud800-\udfff]", text):
            raise ParametersInvalid(f"{name}: contains half a character (a lone surrogate).")


def _texts_in(name: str, value: Any, depth: int = 0) -> Iterator[str]:
    if depth > MAX_NESTING:
        raise ParametersInvalid(f"{name}: is nested more than {MAX_NESTING} levels deep.")
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for item in value.values():
            yield from _texts_in(name, item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _texts_in(name, item, depth + 1)


def shown(name: str) -> str:
    """A field's name as the client sent it, made safe and short for a message."""
    return ascii(name[:50])[1:-1]
