"""What a client sent, read strictly: the `Idempotency-Key` header and the body's parameters.

Everything here refuses before anything is written. A JSON body and a form body with the same
values are the same request, so both end as the form's cleaned data, in one canonical text.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Any

from django import forms
from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpRequest

from idempotency import conf
from idempotency.bodies import read_body, refuse_unstorable_text, shown
from idempotency.exceptions import (
    KeyInvalid,
    KeyMissing,
    ParametersInvalid,
)
from idempotency.models import KEY_MAX_LENGTH

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


# Rounds nothing: two numbers that differ in their fiftieth digit are two.
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
_LONGEST_PLAIN_NUMBER = 100


class CanonicalEncoder(DjangoJSONEncoder):
    """JSON in which equal values have equal texts: `0`, `0.0` and `0e1` are one number."""

    def default(self, o: Any) -> Any:
        if isinstance(o, Decimal):
            exact = _EXACT.plus(_EXACT.normalize(o))
            is_short = abs(exact.adjusted()) < _LONGEST_PLAIN_NUMBER
            return format(exact, "f") if is_short else str(exact)
        return super().default(o)


def read_key(request: HttpRequest) -> str:
    """The client's key from its header.

    *Raises* `KeyMissing`, `KeyInvalid`.
    """
    return check_key(request.META.get("HTTP_IDEMPOTENCY_KEY", ""))


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
    submitted = read_body(request, form_class.base_fields)
    return check_parameters(submitted, form_class, transient_fields)


def check_parameters(
    submitted: dict[str, Any], form_class: type[forms.Form], transient_fields: Iterable[str]
) -> Parameters:
    """Parameters, checked by the operation's form.

    *Raises* `ParametersInvalid`.
    """
    _refuse_unknown(submitted, form_class.base_fields)
    for name, value in submitted.items():
        refuse_unstorable_text(name, value)
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


def _form_errors(form: forms.Form) -> str:
    return " ".join(
        str(message) if name == "__all__" else f"{name}: {message}"
        for name, messages in form.errors.items()
        for message in messages
    )


def _refuse_unknown(submitted: Mapping[str, Any], fields: Mapping[str, forms.Field]) -> None:
    for name in submitted:
        if name not in fields:
            known = ", ".join(fields) or "none"
            raise ParametersInvalid(f"{shown(name)}: is not a known field. Known are: {known}.")
