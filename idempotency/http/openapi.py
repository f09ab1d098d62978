"""An operation in OpenAPI 3.1: its parameters, its headers, and every answer that it may have.

All of it is read from what the code goes by: the form, the settings, the classes of the errors.
What only the author knows, the answers of the phases, the author says.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.validators import MaxLengthValidator, MinLengthValidator
from django.utils.choices import flatten_choices

from idempotency import conf, exceptions
from idempotency.exceptions import IdempotencyError
from idempotency.http import refusals
from idempotency.http.errors import PROBLEM
from idempotency.models import KEY_MAX_LENGTH
from idempotency.phases import PENDING_STATUS, error_body

if TYPE_CHECKING:
    from idempotency.operations import Operation

Document = dict[str, Any]

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

NESTED_MODEL = "#/components/schemas/{model}"

ERROR: Document = {
    "type": "object",
    "required": ["error", "code", "retryable"],
    "properties": {
        "error": {"type": "string", "description": "For people: what was wrong, what was kept."},
        "code": {"type": "string", "description": "For programs: it never changes."},
        "retryable": {
            "type": "boolean",
            "description": "Whether the same request with the same key can end otherwise.",
        },
    },
}

PROBLEM_DETAILS: Document = {
    "type": "object",
    "description": "The same for who accepts `application/problem+json` (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code", "retryable"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "As `error` of the other form."},
        **{name: ERROR["properties"][name] for name in ("code", "retryable")},
    },
}

REPLAYED: Document = {
    "description": "`true` where the answer was stored before; `false` on a first final one.",
    "schema": {"type": "string", "enum": ["true", "false"]},
}
RETRY_AFTER: Document = {
    "description": "After so many seconds the same request may be sent with the same key.",
    "schema": {"type": "integer", "minimum": 0},
}

NOT_OF_A_POST = (refusals.RequestUnknown, refusals.MethodNotAllowed)
OF_READING = (
    *(exceptions.DoorsClosed, exceptions.DatabaseUnavailable, exceptions.ServiceStopping),
    exceptions.PhaseFailed,
)


def components(*params_forms: Any) -> Document:
    """Return the parts that operations refer to.

    Args:
        params_forms: what the operations take, for the models that are nested in a model's.

    Raises: `ValueError` where two models have one name.
    """
    return {
        "schemas": _schemas_of(params_forms),
        "headers": {"Idempotent-Replayed": REPLAYED, "Retry-After": RETRY_AFTER},
        "parameters": {"IdempotencyKey": key_parameter(), "Prefer": prefer_parameter()},
    }


def operation_item(
    operation_class: "type[Operation]",
    *,
    answers: Mapping[int, Document],
    summary: str,
    params_form: Any = None,
    operation_id: str = "",
    standing_id: str = "",
    refused_before: Iterable[type[IdempotencyError]] = (),
) -> Document:
    """Return the `post` of an operation.

    Args:
        answers: by status, what its phases answer, as OpenAPI describes a response. Where errors of
            the app have the status too, both are in the result.
        summary: what it does, in a line.
        params_form: in place of the operation's own.
        operation_id: by which the document's links lead to it, if not the operation's name.
        standing_id: that of the address which says where a request stands, if there is one.
        refused_before: the errors of what stands before the operation, such as a server of yours.
    """
    name = operation_id or operation_class.name
    links = links_to(name, standing_id)
    final = {str(status): _final(status, {"links": links, **a}) for status, a in answers.items()}
    errors = refused((*errors_of_operations(), *refused_before), final, links=links_to(name))
    schema = schema_of(params_form or operation_class.params_form)
    return {
        "summary": summary,
        "operationId": name,
        "parameters": [
            {"$ref": "#/components/parameters/IdempotencyKey"},
            {"$ref": "#/components/parameters/Prefer"},
        ],
        "requestBody": {
            "required": True,
            "description": f"At most {conf.current().max_body_bytes} bytes.",
            "content": {JSON: {"schema": schema}, FORM: {"schema": schema}},
        },
        "responses": dict(sorted({**final, **errors}.items())),
    }


def links_to(operation_id: str, standing_id: str = "") -> Document:
    """Return where an answer leads: to the same request again, and to where it stands."""
    key = {"header.Idempotency-Key": "$request.header.Idempotency-Key"}
    again = {
        "operationId": operation_id,
        **{"parameters": key, "requestBody": "$request.body"},
        "description": "The same request with the same key.",
    }
    standing = {
        **{"operationId": standing_id, "parameters": key},
        "description": "Where the request stands.",
    }
    return {"again": again, **({"standing": standing} if standing_id else {})}


def refused(
    errors: Iterable[type[IdempotencyError]],
    beside: Document | None = None,
    links: Document | None = None,
) -> Document:
    """Return the answers that errors are, by their status.

    Args:
        beside: other answers; where an error has the status of one, both are in the result.
        links: where those lead that another try can change.
    """
    of_status = defaultdict(list)
    for error in errors:
        is_mismatch = error is exceptions.ParametersMismatch
        status = conf.current().mismatch_status if is_mismatch else error.status
        of_status[str(status)].append(error)
    return {
        status: _refusal(classes, (beside or {}).get(status, {}), links or {})
        for status, classes in sorted(of_status.items())
    }


def errors_of_operations() -> Iterator[type[IdempotencyError]]:
    """Yield each error that a client of an operation may get."""
    for module in (refusals, exceptions):
        for error in vars(module).values():
            is_error = isinstance(error, type) and issubclass(error, IdempotencyError)
            if is_error and error.__module__ == module.__name__ and error not in NOT_OF_A_POST:
                yield error


def key_parameter() -> Document:
    """Return the key's header, with how long a key is known: the draft has servers publish it."""
    settings = conf.current()
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": True,
        "description": (
            "A new random value for each thing that is wanted, and the same one with each try: a "
            "UUID, bare or in double quotes. The answer is kept for "
            f"{_hours(settings.retention)} after the request's last run; from then on a retry is a "
            f"410 `key_expired`, until {_hours(settings.tombstone_retention)} after it. Then the "
            "key is known no more, and a request with it is a new one."
        ),
        "schema": {
            "type": "string",
            "minLength": settings.key_min_length,
            "maxLength": KEY_MAX_LENGTH,
            "pattern": _pattern_of_keys(settings.key_min_length),
        },
        "example": "5f3f1c1e-2f43-4c1d-9a55-0d7d3d3cf1a2",
    }


def prefer_parameter() -> Document:
    seconds = int(conf.current().wait_limit.total_seconds())
    return {
        "name": "Prefer",
        "in": "header",
        "required": False,
        "description": (
            "`wait=10` has a duplicate wait so many seconds for the first's answer (RFC 7240), at "
            f"most {seconds}, in place of a 409 at once."
        ),
        "schema": {"type": "string"},
        "example": "wait=10",
    }


def schema_of(shape: Any) -> Document:
    """Return the JSON Schema of what an operation takes: a form's, or a pydantic model's own, of
    which `components` has the nested models.
    """
    if hasattr(shape, "model_json_schema"):
        schema = shape.model_json_schema(ref_template=NESTED_MODEL)
        return {name: value for name, value in schema.items() if name != "$defs"}
    fields = getattr(shape, "base_fields", None)
    if fields is None:  # a serializer, whose package has a generator of its own
        return {"type": "object"}
    # No file can be sent.
    fields = {name: f for name, f in fields.items() if not f.widget.needs_multipart_form}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, field in fields.items() if field.required],
        "properties": {name: schema_of_field(field) for name, field in fields.items()},
    }


def _schemas_of(shapes: Iterable[Any]) -> Document:
    """Return them by name: a reference is resolved from the document's root, not a schema's."""
    found: Document = {"Error": ERROR, "Problem": PROBLEM_DETAILS}
    for shape in shapes:
        if not hasattr(shape, "model_json_schema"):
            continue
        nested = shape.model_json_schema(ref_template=NESTED_MODEL).get("$defs", {})
        if taken := [name for name in nested if found.get(name, nested[name]) != nested[name]]:
            raise ValueError(f"Two models of the document are named {taken[0]}. Rename one.")
        found |= nested
    return found


def schema_of_field(field: forms.Field) -> Document:
    """Return a field's JSON Schema, by its type; a field's own `json_schema` wins."""
    schema: Document = {**_type_of(field), **_limits_of(field)}
    if field.help_text:
        schema["description"] = str(field.help_text)
    return {**schema, **getattr(field, "json_schema", {})}


def _type_of(field: forms.Field) -> Document:
    """As `http.bodies` wants the types of JSON."""
    if isinstance(field, forms.BooleanField):
        return {"type": "boolean"}
    if isinstance(field, forms.IntegerField):  # DecimalField and FloatField are ones too
        is_whole = not isinstance(field, forms.DecimalField | forms.FloatField)
        return {"type": "integer" if is_whole else "number"}
    if isinstance(field, forms.ModelMultipleChoiceField):
        return {"type": "array"}
    if isinstance(field, forms.ModelChoiceField):
        return {"type": ["string", "integer"]}
    if isinstance(field, forms.MultipleChoiceField):
        return {"type": "array", "items": {"type": "string", "enum": _choices_of(field)}}
    if isinstance(field, forms.ChoiceField):
        empty = [] if field.required else [""]
        return {"type": "string", "enum": [*_choices_of(field), *empty]}
    if isinstance(field, forms.JSONField):
        return {}
    formats = {forms.DateField: "date", forms.UUIDField: "uuid", forms.EmailField: "email"}
    named = [name for kind, name in formats.items() if isinstance(field, kind)]
    return {"type": "string", **({"format": named[0]} if named else {})}


def _limits_of(field: forms.Field) -> Document:
    found = {
        "minimum": _number(getattr(field, "min_value", None)),
        "maximum": _number(getattr(field, "max_value", None)),
    }
    for validator in field.validators:
        if isinstance(validator, MaxLengthValidator):
            found["maxLength"] = validator.limit_value
        if isinstance(validator, MinLengthValidator):
            found["minLength"] = validator.limit_value
    return {name: value for name, value in found.items() if value is not None}


def _choices_of(field: forms.ChoiceField) -> list[str]:
    """Return the values as a form compares them, of groups too."""
    choices: Any = field.choices
    return [str(value) for value, _ in flatten_choices(choices) if value not in ("", None)]


def _number(limit: Any) -> Any:
    """Return a limit that JSON has as a number."""
    value = limit() if callable(limit) else limit
    return float(value) if isinstance(value, Decimal) else value


def _final(status: int, answer: Document) -> Document:
    """Whatever is final says whether it was stored before."""
    if status == PENDING_STATUS:
        return answer
    replayed = {"Idempotent-Replayed": {"$ref": "#/components/headers/Idempotent-Replayed"}}
    return {**answer, "headers": {**replayed, **answer.get("headers", {})}}


def _refusal(classes: list[type[IdempotencyError]], own: Document, links: Document) -> Document:
    examples: Document = {}
    said = [own["description"]] if own else []
    for error in classes:
        words = " ".join((error.__doc__ or "").split("Args:")[0].split())
        examples.setdefault(error.code, {"value": _example(error, words)})
        said.append(f"`{error.code}`: {words}")
    content = own.get("content", {}).get(JSON, {})
    examples |= content.get("examples", {})
    answer: Document = {
        "description": "\n\n".join(said),
        "content": {
            JSON: {
                "schema": content.get("schema", {"$ref": "#/components/schemas/Error"}),
                "examples": examples,
            },
            PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}},
        },
        "headers": dict(own.get("headers", {})),
    }
    if any(error.retryable for error in classes):
        answer["headers"]["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
        answer["links"] = {**links, **own.get("links", {})}
    return answer


def _example(error: type[IdempotencyError], words: str) -> Document:
    return error_body(words, code=error.code, retryable=error.retryable)


def _pattern_of_keys(shortest: int) -> str:
    """As `http.keys` reads them: bare, or in double quotes, which do not count."""
    bare = rf"[!#-+\--~][ !#-+\--~]{{{shortest - 2},{KEY_MAX_LENGTH - 2}}}[!#-+\--~]"
    quoted = rf'"([ !#-\[\]-~]|\\["\\]){{{shortest},{KEY_MAX_LENGTH}}}"'
    return f"^({bare}|{quoted})$"


def _hours(span: timedelta) -> str:
    hours = span // timedelta(hours=1)
    return f"{hours} hours" if hours < 24 * 7 else f"{hours // 24} days"
