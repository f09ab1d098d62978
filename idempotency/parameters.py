"""What a client sent, read once: the `Idempotency-Key` header and the request's parameters.

The form sees a request's fields once, when its key is fresh. What it made of them is kept, and
every attempt gets that, as values that it cannot change.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from typing import Any, Self

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import HttpRequest

from idempotency import conf
from idempotency.bodies import Sent, refuse_other_json_types, refuse_unstorable_texts, shown
from idempotency.exceptions import KeyInvalid, KeyMissing, ParameterGone, ParametersInvalid
from idempotency.kept_values import (
    Reference,
    find_instances,
    keep,
    readable,
    references_in,
    restore,
)
from idempotency.models import KEY_MAX_LENGTH

# A Structured Field string (RFC 8941, section 3.3.3), which is how the draft writes the key:
# https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
_QUOTED_KEY = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
# Bare, as most clients send it: no quote, so that half a quoted string is not taken for a key, and
# no comma, with which servers join two headers of one name.
_BARE_KEY = re.compile(r"[\x20\x21\x23-\x2b\x2d-\x7e]+")

REMOVED = {"removed": ""}
"""Kept of a field that the form's own `clean()` took out: it is not one that is new since."""


class Parameters(Mapping[str, Any]):
    """The parameters of a request, as every attempt of every phase gets them.

    An instance is read from the database when it is first looked at, together with the others of
    its parameter. *Raises* `ParameterGone` where one no longer exists.
    """

    def __init__(self, kept: Mapping[str, Any]) -> None:
        # In one order: the first attempt's comes from the form, a later one's from the database.
        self._kept = {name: kept[name] for name in sorted(kept) if kept[name] != REMOVED}
        self._restored: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._restored:
            kept = self._kept[name]
            instances = find_instances(references_in(kept))
            self._restored[name] = restore(kept, lambda which: _existing(name, which, instances))
        return self._restored[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._kept!r})"

    def afresh(self) -> Self:
        """Return the same parameters, of which nobody has looked at an instance yet."""
        return type(self)(self._kept)

    def load(self) -> None:
        """Read the instances that exist, for a phase that has no connection to read them with."""
        for name in self:
            try:
                self[name]
            except ParameterGone:
                continue  # for the phase to meet, if it needs that one


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


def keep_all(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by their names as JSON.

    *Raises* `ParameterNotKept` for one of a type that cannot be kept.
    """
    return {name: keep(name, value) for name, value in values.items()}


def kept_by_form(
    sent: Sent, form_class: type[forms.Form], transient_fields: Collection[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask the form, and return what it made of the fields: as JSON to keep, and the transient ones.

    *Raises* `ParametersInvalid`, `ParameterNotKept`.
    """
    submitted = refuse_other_json_types(sent, form_class.base_fields)
    _refuse_unknown(sent.fields, form_class.base_fields)
    refuse_unstorable_texts(sent)
    form = form_class(submitted)
    if not form.is_valid():
        raise ParametersInvalid(_form_errors(form))
    cleaned = form.cleaned_data
    kept = keep_all({k: v for k, v in cleaned.items() if k not in transient_fields})
    removed = form_class.base_fields.keys() - cleaned.keys() - set(transient_fields)
    return (
        kept | dict.fromkeys(removed, REMOVED),
        {k: v for k, v in cleaned.items() if k in transient_fields},
    )


def clean_transient(
    sent: Sent, form_class: type[forms.Form], transient_fields: Collection[str]
) -> dict[str, Any]:
    """Return the transient fields of a retry, each cleaned by its own field and nothing else.

    *Raises* `ParametersInvalid`.
    """
    fields = {k: deepcopy(v) for k, v in form_class.base_fields.items() if k in transient_fields}
    values = refuse_other_json_types(sent, fields)
    cleaned: dict[str, Any] = {}
    for name, field in fields.items():
        try:
            cleaned[name] = field.clean(field.widget.value_from_datadict(values, {}, name))
        except ValidationError as error:
            raise ParametersInvalid(f"{name}: {' '.join(error.messages)}") from None
    return cleaned


def parameters_of(
    kept: Mapping[str, Any], form_class: type[forms.Form], transient_fields: Collection[str]
) -> Parameters:
    """Return kept parameters for an attempt. A field that is new since has its empty value."""
    new = {
        name: keep(name, empty_value_of(field))
        for name, field in form_class.base_fields.items()
        if name not in kept and name not in transient_fields
    }
    return Parameters({**kept, **new})


def readable_parameters(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return kept parameters for people: as texts, and lists and dicts of texts."""
    return {name: readable(value) for name, value in kept.items() if value != REMOVED}


def empty_value_of(field: forms.Field) -> Any:
    """Return what a field makes of nothing, or None where it does not say."""
    if hasattr(field, "empty_value"):
        return field.empty_value
    try:
        return field.to_python(None)
    except ValidationError:
        return None


def _existing(name: str, reference: Reference, instances: Mapping[Reference, Model]) -> Model:
    if reference in instances:
        return instances[reference]
    label, pk = reference
    raise ParameterGone(
        f"{name}: {label} {pk}, which this request is about, no longer exists. Nothing more is "
        "done until a person has looked. Retry later with the same Idempotency-Key.",
        evidence={"parameter": name, "model": label, "pk": str(pk)},
    )


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
