"""An operation in OpenAPI: what the document says of its fields is what its form takes."""

import json
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from django import forms
from django.db import models
from openapi_spec_validator import validate
from pydantic import BaseModel
from rest_framework.serializers import CharField, Serializer

from idempotency import STARTED, Operation, Response, atomic_phase
from idempotency.http.bodies import sent_by_code
from idempotency.http.openapi import NESTED_MODEL, components, operation_item, schema_of
from idempotency.http.refusals import ParametersInvalid
from idempotency.http.shapes import shape_of


class Size(models.IntegerChoices):
    SMALL = 1
    LARGE = 2


class Wanted(forms.Form):
    colour = forms.ChoiceField(choices=[("red", "Red"), ("Pale", [("rose", "Rose")])])
    size = forms.TypedChoiceField(choices=Size, coerce=int)
    finish = forms.ChoiceField(choices=[("", "any"), ("matt", "Matt")], required=False)
    extras = forms.MultipleChoiceField(choices=[("bow", "Bow"), ("box", "Box")])
    price = forms.DecimalField(min_value=Decimal("0.01"), max_value=lambda: 10)


WANTED = {"colour": "rose", "size": "2", "finish": "", "extras": ["bow"], "price": 1}


def test_choices_in_the_document_are_those_that_the_form_takes():
    fields = schema_of(Wanted)["properties"]
    enums = {
        "colour": fields["colour"]["enum"],
        "size": fields["size"]["enum"],
        "finish": fields["finish"]["enum"],
        "extras": [[value] for value in fields["extras"]["items"]["enum"]],
    }

    for name, values in enums.items():
        for value in values:
            shape_of(Wanted).make(sent_by_code({**WANTED, name: value}))

    assert enums == {
        "colour": ["red", "rose"],
        "size": ["1", "2"],
        "finish": ["matt", ""],
        "extras": [["bow"], ["box"]],
    }


def test_limits_of_a_number_are_numbers_of_json():
    price = json.loads(json.dumps(schema_of(Wanted)["properties"]["price"]))

    assert price == {"type": "number", "minimum": 0.01, "maximum": 10}


def test_a_file_which_cannot_be_sent_is_not_in_the_document():
    class WithPicture(Wanted):
        picture = forms.FileField(required=False)

    with pytest.raises(ParametersInvalid, match="picture: cannot be sent"):
        shape_of(WithPicture).make(sent_by_code({**WANTED, "picture": "x"}))

    assert schema_of(WithPicture) == schema_of(Wanted)


class Item(BaseModel):
    name: str
    parts: list["Item"] = []


class Basket(BaseModel):
    items: list[Item]


class ItemSerializer(Serializer):
    name = CharField()


class Fill(Operation):
    params_form: ClassVar[Any] = Basket

    @atomic_phase(STARTED)
    def fill(self) -> Response:
        return Response(201, {})


class Want(Fill):
    params_form = Wanted


class WantByItem(Fill):
    params_form = ItemSerializer


def document_of(operation: type[Operation]) -> Any:
    item = operation_item(operation, answers={201: {"description": "Done."}}, summary="Do it")
    shelf = {"name": "shelf", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Shop", "version": "1.0.0"},
        "paths": {"/shelves/{shelf}": {"parameters": [shelf], "post": item}},
        "components": components(operation.params_form),
    }


def test_a_nested_model_is_found_where_the_document_refers_to_it():
    document = document_of(Fill)

    references = set(references_in(document))

    assert NESTED_MODEL.format(model="Item") in references
    for reference in references:
        found = document
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]


@pytest.mark.parametrize("operation", [Fill, Want, WantByItem])
def test_a_document_of_a_form_a_model_or_a_serializer_is_valid(operation):
    validate(json.loads(json.dumps(document_of(operation))))


def references_in(document: Any) -> Any:
    if isinstance(document, dict):
        if "$ref" in document:
            yield document["$ref"]
        document = list(document.values())
    if isinstance(document, list):
        for part in document:
            yield from references_in(part)


def test_two_nested_models_of_one_name_are_refused():
    class Error(BaseModel):
        reason: str

    class Report(BaseModel):
        errors: list[Error]

    with pytest.raises(ValueError, match="named Error"):
        components(Report)
