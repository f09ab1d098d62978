"""What an operation's form makes of a request's fields: it is asked once, when the key is fresh."""

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from idempotency.http.bodies import Sent, refuse_other_json_types, refuse_unstorable_texts, shown
from idempotency.http.refusals import ParametersInvalid
from idempotency.parameters import REMOVED, keep_all


def kept_by_form(
    sent: Sent, form_class: type[forms.Form], transient_fields: Collection[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask the form, and return what it made of the fields: as JSON to keep, and the transient ones.

    Raises: `ParametersInvalid`, `ParameterNotKept`.
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

    Raises: `ParametersInvalid`.
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
