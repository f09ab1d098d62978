"""What a request's fields are made into, once, when its key is fresh.

By a Django form, a serializer of Django REST framework, or a pydantic model. Each has an adapter
with one contract: which fields there are, and what it makes of those that were sent.
"""

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any, Protocol

from django import forms
from django.core.exceptions import ValidationError
from django.utils.datastructures import MultiValueDict

from idempotency.http.bodies import (
    Sent,
    refuse_other_json_types,
    refuse_unstorable_texts,
    shown,
)
from idempotency.http.refusals import ParametersInvalid
from idempotency.http.schemas import SchemaShape
from idempotency.http.serializers import SerializerShape
from idempotency.parameters import REMOVED, keep_all


class Shape(Protocol):
    """The contract of an adapter."""

    @property
    def names(self) -> Collection[str]:
        """Those of the fields, as a request has them."""

    def make(self, sent: Sent) -> Mapping[str, Any]:
        """Return what is made of the fields, by their names. Raises: `ParametersInvalid`."""

    def make_only(self, sent: Sent, names: Collection[str]) -> Mapping[str, Any]:
        """Return what is made of some fields, each by itself. Raises: `ParametersInvalid`."""


class FormShape:
    """The adapter of a form."""

    def __init__(self, form_class: type[forms.Form]) -> None:
        self._class = form_class
        self.names: Collection[str] = form_class.base_fields.keys()

    def make(self, sent: Sent) -> Mapping[str, Any]:
        _refuse_unseen(sent, self._class.base_fields)
        form = self._class(refuse_other_json_types(sent, self._class.base_fields))
        if not form.is_valid():
            raise ParametersInvalid(_form_errors(form))
        return form.cleaned_data

    def make_only(self, sent: Sent, names: Collection[str]) -> Mapping[str, Any]:
        fields = {k: deepcopy(v) for k, v in self._class.base_fields.items() if k in names}
        _refuse_unseen(sent, fields)
        values = refuse_other_json_types(sent, fields)
        cleaned: dict[str, Any] = {}
        for name, field in fields.items():
            try:
                cleaned[name] = field.clean(field.widget.value_from_datadict(values, {}, name))
            except ValidationError as error:
                raise ParametersInvalid(f"{name}: {' '.join(error.messages)}") from None
        return cleaned


def _refuse_unseen(sent: Sent, fields: Mapping[str, forms.Field]) -> None:
    """Refuse what a form would take for left out: a file, and what has several names in a form.

    Raises: `ParametersInvalid`.
    """
    for name in sent.fields.keys() & fields.keys():
        if sent.fields[name] not in ("", None) and not _is_seen(sent, name, fields[name].widget):
            raise ParametersInvalid(
                f"{name}: cannot be sent: it is a file, or takes several names apart."
            )


def _is_seen(sent: Sent, name: str, widget: forms.Widget) -> bool:
    asked = sent.fields, MultiValueDict[str, Any](), name
    seen = widget.value_from_datadict(*asked)
    parts = seen if isinstance(seen, list) else [seen]
    return any(part is not None for part in parts) or not widget.value_omitted_from_data(*asked)


def _form_errors(form: forms.Form) -> str:
    return " ".join(
        str(message) if name == "__all__" else f"{name}: {message}"
        for name, messages in form.errors.items()
        for message in messages
    )


def shape_of(params_form: Any) -> Shape:
    """Return the adapter of a form, a serializer or a model; neither of the latter is imported."""
    if hasattr(params_form, "model_fields"):
        return SchemaShape(params_form)
    if hasattr(params_form, "run_validation"):
        return SerializerShape(params_form)
    return FormShape(params_form)


def kept_by_form(
    sent: Sent, params_form: Any, transient_fields: Collection[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the form makes of the fields: as JSON to keep, and the transient ones.

    Raises: `ParametersInvalid`, `ParameterNotKept`.
    """
    shape = shape_of(params_form)
    for name in sent.fields:
        if name not in shape.names:
            known = ", ".join(shape.names) or "none"
            raise ParametersInvalid(f"{shown(name)}: is not a known field. Known are: {known}.")
    refuse_unstorable_texts(sent)
    made = shape.make(sent)
    kept = keep_all({k: v for k, v in made.items() if k not in transient_fields})
    removed = set(shape.names) - made.keys() - set(transient_fields)
    return (
        kept | dict.fromkeys(removed, REMOVED),
        {k: v for k, v in made.items() if k in transient_fields},
    )


def clean_transient(
    sent: Sent, params_form: Any, transient_fields: Collection[str]
) -> Mapping[str, Any]:
    """Return the transient fields of a retry, each by its own field and nothing else.

    Raises: `ParametersInvalid`.
    """
    return shape_of(params_form).make_only(sent, transient_fields) if transient_fields else {}
