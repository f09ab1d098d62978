"""The parameters of a request: what its form made of what was sent, kept for every attempt.

The form sees a request's fields once, when its key is fresh (`http.shapes`). What it made of them
is kept, and every attempt gets that, as values that it cannot change.
"""

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any, Self

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Model

from idempotency.exceptions import ParameterGone
from idempotency.support.kept_values import (
    Reference,
    find_instances,
    keep,
    readable,
    references_in,
    restore,
)

REMOVED = {"removed": ""}
"""Kept of a field that the form's own `clean()` took out: it is not one that is new since."""


class Parameters(Mapping[str, Any]):
    """The parameters of a request, as every attempt of every phase gets them.

    An instance is read from the database when it is first looked at, together with the others of
    its parameter. Raises: `ParameterGone` where one no longer exists.
    """

    def __init__(self, kept: Mapping[str, Any]) -> None:
        # In one order: the first attempt's comes from the form, a later one's from the database.
        self._kept = {name: kept[name] for name in sorted(kept) if kept[name] != REMOVED}
        self._restored: dict[str, Any] = {}
        self._found: dict[str, Mapping[Reference, Model]] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._restored:
            self._restored[name] = restore(self._kept[name], partial(self._instance, name))
        return self._restored[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._kept!r})"

    def afresh(self) -> Self:
        """Return the same parameters, of which nobody has looked at an instance yet."""
        return type(self)(self._kept) if self._found else self

    def load(self) -> None:
        """Read the instances that exist, for a phase that has no connection to read them with."""
        for name in self:
            try:
                self[name]
            except ParameterGone:
                continue  # for the phase to meet, if it needs that one

    def _instance(self, name: str, reference: Reference) -> Model:
        if name not in self._found:
            self._found[name] = find_instances(references_in(self._kept[name]))
        if reference in self._found[name]:
            return self._found[name][reference]
        label, pk = reference
        raise ParameterGone(
            f"{name}: {label} {pk}, which this request is about, no longer exists. Nothing more is "
            "done until a person has looked. Retry later with the same Idempotency-Key.",
            evidence={"parameter": name, "model": label, "pk": str(pk)},
        )


def keep_all(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by their names as JSON.

    Raises: `ParameterNotKept` for one of a type that cannot be kept.
    """
    return {name: keep(name, value) for name, value in values.items()}


def parameters_of(
    kept: Mapping[str, Any], form_class: Any, transient_fields: Collection[str]
) -> Parameters:
    """Return kept parameters for an attempt. A field that is new since has its empty value."""
    new = {
        name: keep(name, empty)
        for name, empty in empty_values_of(form_class).items()
        if name not in kept and name not in transient_fields
    }
    return Parameters({**kept, **new})


def readable_parameters(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return kept parameters for people: as texts, and lists and dicts of texts."""
    return {name: readable(value) for name, value in kept.items() if value != REMOVED}


def empty_values_of(params_form: Any) -> dict[str, Any]:
    """Return what each field of a form, a serializer or a model is where it was not sent."""
    if hasattr(params_form, "model_fields"):
        fields = params_form.model_fields.items()
        return {
            name: None if field.is_required() else field.get_default(call_default_factory=True)
            for name, field in fields
        }
    if hasattr(params_form, "run_validation"):
        own = params_form().fields.items()
        return {
            name: None if field.required or callable(field.default) else field.default
            for name, field in own
            if not field.read_only
        }
    return {name: empty_value_of(field) for name, field in params_form.base_fields.items()}


def empty_value_of(field: forms.Field) -> Any:
    """Return what a field makes of nothing, or None where it does not say."""
    if hasattr(field, "empty_value"):
        return field.empty_value
    try:
        return field.to_python(None)
    except ValidationError:
        return None
