"""The contract: what `/openapi.json` says is valid, committed, and what the service does."""

import json
import re
import uuid
from pathlib import Path

import pytest
from django.test import Client
from openapi_spec_validator import validate

from idempotency.http.keys import check_key
from idempotency.http.openapi import errors_of_operations
from idempotency.http.refusals import KeyInvalid
from rides.contract import document, text
from rides.forms import RideForm
from rides.management.commands.contract import PLACE
from rides.tests.booking import COORDINATES, ask

pytestmark = pytest.mark.django_db


def booking() -> dict:
    return document(RideForm)["paths"]["/rides"]["post"]


def test_the_document_is_valid_openapi():
    validate(json.loads(text()))


def test_the_committed_contract_is_the_codes():
    """Or run `manage.py contract`, and look at what changes for clients."""
    assert Path(PLACE).read_text() == text()


def test_a_document_that_is_none_is_found_to_be_none():
    broken = document(RideForm)
    broken["paths"]["/rides"]["post"]["responses"]["201"].pop("description")

    with pytest.raises(Exception, match="description"):
        validate(broken)


def test_it_is_served_as_it_is_for_programs_and_for_people():
    served = Client().get("/openapi.json")
    page = Client().get("/docs")

    assert served.json() == document()
    assert page.status_code == 200
    for code in ("idempotency_key_missing", "parameters_mismatch", "/requests", "origin_lat"):
        assert code in page.content.decode()
    assert "<code>showRequest</code>, where the request stands." in page.content.decode()
    assert "<script" not in page.content.decode()
    assert "<code>idempotency_key_missing</code>" in page.content.decode()


def test_every_error_that_a_client_may_get_is_named_with_its_status():
    responses = booking()["responses"]

    for error in errors_of_operations():
        examples = responses[str(error.status)]["content"]["application/json"]["examples"]
        assert examples[error.code]["value"]["retryable"] in (True, False)
    assert {"201", "202", "402", "409"} <= responses.keys()


def test_the_limits_are_those_of_the_form_and_of_the_settings(settings):
    schema = booking()["requestBody"]["content"]["application/json"]["schema"]
    key = document()["components"]["parameters"]["IdempotencyKey"]

    assert schema["properties"]["origin_lat"]["maximum"] == 90
    assert schema["properties"]["target_lon"]["minimum"] == -180
    assert schema["required"] == list(COORDINATES)
    assert (key["schema"]["minLength"], key["schema"]["maxLength"]) == (20, 255)
    assert "72 hours" in key["description"]


def test_what_is_refused_before_the_operation_is_named_too():
    responses = booking()["responses"]

    for status, code in [
        ("400", "unknown_host"),
        ("408", "request_timeout"),
        ("503", "overloaded"),
    ]:
        assert code in responses[status]["content"]["application/json"]["examples"]
        assert "application/problem+json" in responses[status]["content"]


@pytest.mark.parametrize(
    ("key", "is_one"),
    [
        *((b"k" * 20, True), (b"k" * 255, True), (b'"' + b"k" * 20 + b'"', True)),
        (b'"' + rb"\"" * 20 + b'"', True),
        *((b"k" * 19, False), (b'"' + b"k" * 19 + b'"', False), (b'k"' * 10, False)),
        *((b"k" * 19 + b",", False), (b'"' + b"\\" * 21 + b'"', False)),
    ],
)
def test_the_contracts_pattern_of_keys_is_what_is_read(key, is_one):
    schema = document()["components"]["parameters"]["IdempotencyKey"]["schema"]
    text = key.decode()
    fits = schema["minLength"] <= len(text) <= schema["maxLength"]

    try:
        was_read = bool(check_key(text))
    except KeyInvalid:
        was_read = False

    assert (fits and bool(re.search(schema["pattern"], text))) == was_read == is_one


def test_links_lead_from_a_booking_to_its_retry_and_its_standing():
    paths = document()["paths"]
    named = {item["operationId"] for methods in paths.values() for item in methods.values()}
    responses = booking()["responses"]

    assert responses["201"]["links"].keys() == {"again", "standing"}
    assert responses["503"]["links"].keys() == {"again"}
    assert "links" not in responses["422"]
    for methods in paths.values():
        for item in methods.values():
            for answer in item["responses"].values():
                for link in answer.get("links", {}).values():
                    assert link["operationId"] in named


@pytest.mark.django_db(transaction=True)
def test_answers_are_as_the_contract_says(rider, rider_with_bad_card, stand_in):
    answers = [
        ask(rider=rider.email),
        ask(rider=rider.email, origin_lat="91"),
        ask(str(uuid.uuid4()), rider=rider.email, origin_lat="91"),
        ask("short", rider=rider.email),
        ask(str(uuid.uuid4()), rider=rider_with_bad_card.email),
        ask(str(uuid.uuid4()), rider="nobody@example.com"),
    ]

    assert [answer.status_code for answer in answers] == [201, 409, 422, 400, 402, 401]
    for answer in answers:
        described = booking()["responses"][str(answer.status_code)]
        body = answer.json()
        if answer.status_code != 201:
            examples = described["content"]["application/json"]["examples"]
            assert body.keys() == examples[body["code"]]["value"].keys()
            assert body["retryable"] == examples[body["code"]]["value"]["retryable"]
        else:
            assert described["headers"].keys() <= set(answer.headers)
