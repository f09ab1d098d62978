"""What a client sent, read strictly: the `Idempotency-Key` header and the body's parameters.

Everything here refuses before anything is written. A JSON body and a form body with the same
values are the same request, so both end as the form's cleaned data, in one canonical text.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

from django import forms
from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpRequest

from idempotency import conf
from idempotency.exceptions import (
    BodyMalformed,
    BodyTooLarge,
    ContentTypeUnsupported,
    KeyInvalid,
    KeyMissing,
    LengthRequired,
    ParametersInvalid,
)
from idempotency.models import KEY_MAX_LENGTH

MAX_FIELDS = 100

# A Structured Field string (RFC 8941, section 3.3.3), which is how the draft writes the key:
# https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
_QUOTED_KEY = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
# Bare, as most clients send it: no quote, so that half a quoted string is not taken for a key, and
# no comma, with which servers join two headers of one name.
_BARE_KEY = re.compile(r"[\x20\x21\x23-\x2b\x2d-\x7e]+")


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a request that passed its form.

    `cleaned` is what phases get, `stored` the same as JSON; `transient` is neither stored nor
    compared.
    """

    cleaned: dict[str, Any]
    stored: dict[str, Any]
    transient: dict[str, Any]


class CanonicalEncoder(DjangoJSONEncoder):
    """JSON in which equal values have equal texts: `0`, `0.0` and `0e1` are one number."""

    def default(self, o: Any) -> Any:
        if isinstance(o, Decimal):
            return format(o.normalize() + 0, "f")
        return super().default(o)


def read_key(request: HttpRequest) -> str:
    """The client's key from its header.

    *Raises* `KeyMissing`, `KeyInvalid`.
    """
    return check_key(request.headers.get("Idempotency-Key", ""))


def check_key(sent: str) -> str:
    """A client's key, bare or as the draft's quoted string: both are the same key.

    *Raises* `KeyMissing`, `KeyInvalid`.
    """
    sent = sent.strip(" \t")
    if not sent:
        raise KeyMissing("This request needs an Idempotency-Key header.")
    key = _unquoted(sent)
    shortest = conf.current().key_min_length
    if not shortest <= len(key) <= KEY_MAX_LENGTH:
        raise KeyInvalid(
            f"The Idempotency-Key has {len(key)} characters; "
            f"it must have {shortest} to {KEY_MAX_LENGTH}."
        )
    return key


def _unquoted(sent: str) -> str:
    if quoted := _QUOTED_KEY.fullmatch(sent):
        return re.sub(r"\\(.)", r"\1", quoted[1])
    if _BARE_KEY.fullmatch(sent):
        return sent
    raise KeyInvalid(
        "The Idempotency-Key must be one value of printable ASCII characters without a comma, "
        "or such a value in double quotes."
    )


def read_parameters(
    request: HttpRequest, form_class: type[forms.Form], transient_fields: Iterable[str]
) -> Parameters:
    """The body's parameters, checked by the operation's form.

    *Raises* `BodyTooLarge`, `ContentTypeUnsupported`, `BodyMalformed`, `ParametersInvalid`.
    """
    submitted = _read_body(request, form_class.base_fields)
    return check_parameters(submitted, form_class, transient_fields)


def check_parameters(
    submitted: dict[str, Any], form_class: type[forms.Form], transient_fields: Iterable[str]
) -> Parameters:
    """Parameters, checked by the operation's form.

    *Raises* `ParametersInvalid`.
    """
    _refuse_unknown(submitted, form_class.base_fields)
    for name, value in submitted.items():
        _refuse_unstorable_text(name, value)
    form = form_class(submitted)
    if not form.is_valid():
        raise ParametersInvalid(_form_errors(form))
    return _parameters_of(form, frozenset(transient_fields))


def restore_parameters(
    stored: dict[str, Any], form_class: type[forms.Form], transient_fields: Iterable[str]
) -> dict[str, Any]:
    """The cleaned data again, of parameters that were stored.

    *Raises* `ParametersInvalid` where the form, since changed, no longer accepts them.
    """
    form = form_class(stored)
    if not form.is_valid():
        raise ParametersInvalid(_form_errors(form))
    return _parameters_of(form, frozenset(transient_fields)).cleaned


def fingerprint(method: str, path: str, stored: dict[str, Any]) -> str:
    """What a retry must have in common with the first request: method, path and parameters."""
    parameters = json.dumps(stored, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{method}\n{path}\n{parameters}".encode()).hexdigest()


def _parameters_of(form: forms.Form, transient_fields: frozenset[str]) -> Parameters:
    cleaned = {k: v for k, v in form.cleaned_data.items() if k not in transient_fields}
    transient = {k: v for k, v in form.cleaned_data.items() if k in transient_fields}
    prepared = {name: form.fields[name].prepare_value(value) for name, value in cleaned.items()}
    return Parameters(cleaned, json.loads(json.dumps(prepared, cls=CanonicalEncoder)), transient)


def _read_body(request: HttpRequest, fields: Mapping[str, forms.Field]) -> dict[str, Any]:
    body = _read_bytes(request)
    if request.content_type == "application/json":
        return _read_json(_as_text(body), fields)
    if request.content_type == "application/x-www-form-urlencoded" or not body:
        return _read_form(_as_text(body))
    raise ContentTypeUnsupported(
        f"The content type {request.content_type!r} is not supported; send "
        "application/x-www-form-urlencoded or application/json."
    )


def _read_bytes(request: HttpRequest) -> bytes:
    limit = conf.current().max_body_bytes
    announced = _announced_length(request)
    if announced > limit:
        raise BodyTooLarge(f"The body is larger than {limit} bytes.")
    try:
        body: bytes = request.read(limit + 1)
    except OSError:
        raise BodyMalformed("The body could not be read to its end.") from None
    if len(body) > limit:
        raise BodyTooLarge(f"The body is larger than {limit} bytes.")
    if len(body) < announced:
        raise BodyMalformed("The body is shorter than its Content-Length.")
    return body


def _announced_length(request: HttpRequest) -> int:
    if "Transfer-Encoding" in request.headers:
        # Django reads a body to its announced length, so of one in chunks it would see nothing.
        raise LengthRequired("The body must be sent with a Content-Length, not in chunks.")
    header = request.headers.get("Content-Length") or "0"
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


def _read_json(text: str, fields: Mapping[str, forms.Field]) -> dict[str, Any]:
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
    for name, value in parsed.items():
        if name in fields:
            _refuse_other_json_type(name, value, fields[name])
    return parsed


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _without_repetition(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ParametersInvalid(f"{_shown(name)}: is given more than once.")
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


def _refuse_unknown(submitted: Mapping[str, Any], fields: Mapping[str, forms.Field]) -> None:
    for name in submitted:
        if name not in fields:
            known = ", ".join(fields) or "none"
            raise ParametersInvalid(f"{_shown(name)}: is not a known field. Known are: {known}.")


def _refuse_unstorable_text(name: str, value: Any) -> None:
    """PostgreSQL stores neither NUL nor half a surrogate pair."""
    text = value if isinstance(value, str) else json.dumps(value, cls=DjangoJSONEncoder)
    if "\x00" in text or "\\u0000" in text:
        raise ParametersInvalid(f"{name}: contains a NUL character.")
    if re.search(r"[\ud800-\udfff]|\\ud[89a-f]", text):
        raise ParametersInvalid(f"{name}: contains half a character (a lone surrogate).")


def _form_errors(form: forms.Form) -> str:
    return " ".join(
        str(message) if name == "__all__" else f"{name}: {message}"
        for name, messages in form.errors.items()
        for message in messages
    )


def _shown(name: str) -> str:
    """A field's name as the client sent it, made safe and short for a message."""
    return ascii(name[:50])[1:-1]
