"""What a client sends is read strictly: each mistake is named, and nothing is written for it."""

import json
from urllib.parse import quote, urlencode

import pytest

from idempotency.models import IdempotencyKey
from idempotency.tests.echoes import urlpatterns  # noqa: F401

pytestmark = pytest.mark.django_db

FORM = "application/x-www-form-urlencoded"
KIB_16 = 16 * 1024
NO_JSON = "The body is not valid JSON."
NO_OBJECT = "must be a JSON object"
NO_UTF_8 = "not UTF-8"


def assert_refused(answer, status, code, *words):
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content
    for word in words:
        assert word in answer.json()["error"]
    assert not IdempotencyKey.objects.exists()


# Fields.


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ("title=Emma", "price_cents", "required"),
        ("title=Emma&price_cents=", "price_cents", "required"),
        ("title=&price_cents=1", "title", "required"),
        ("title=Emma&price_cents=1&price_cents=1", "price_cents", "more than once"),
        ("title=Emma&price_cents=1&colour=red", "colour", "not a known field"),
        ("title=Emma&price_cents=nan", "price_cents", "whole number"),
        ("title=Emma&price_cents=0", "price_cents", "greater than or equal to 1"),
        ("title=Emma&price_cents=1&discount=inf", "discount", "number"),
        ("title=Emma&price_cents=1&discount=1e999", "discount", "digit"),
        ("title=Emma&price_cents=1&discount=0.001", "discount", "2 decimal places"),
        ("title=Em%00ma&price_cents=1", "title", "NUL"),
        ("title=" + "E" * 101 + "&price_cents=1", "title", "100 characters"),
        ("t%00itle=Emma&price_cents=1", "t\\x00itle", "not a known field"),
        ("title=Emma&price_cents=1;gift=true", "price_cents", "whole number"),
        ("title=Emma&price_cents=1&price_cents[]=1", "price_cents[]", "not a known field"),
        ("title=Emma&price_cents=1&price_cents%5B%5D=1", "price_cents[]", "not a known field"),
        ("title=Emma&price_cents=1&=5", "", "not a known field"),
    ],
)
def test_a_field_that_is_wrong_is_named_with_the_reason(customer, key, body, field, reason):
    answer = customer.post(body, key, content_type=FORM)

    assert_refused(answer, 422, "parameters_invalid", f"{field}: ", reason)


@pytest.mark.parametrize("field", ["file", "moment"])
@pytest.mark.parametrize("is_json", [True, False])
def test_a_field_that_the_form_would_take_for_left_out_is_refused(customer, key, field, is_json):
    sent = {field: "2026-01-02"}
    body, content_type = (sent, "application/json") if is_json else (urlencode(sent), FORM)

    answer = customer.post(body, key, to="/page", content_type=content_type)

    assert_refused(answer, 422, "parameters_invalid", f"{field}: cannot be sent")


def test_a_field_with_a_widget_of_several_names_is_sent_by_its_own(customer, key):
    assert customer.post({"day": "2026-01-02"}, key, to="/page").status_code == 201


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"price_cents": "900"}, "price_cents", "must be a number"),
        ({"price_cents": True}, "price_cents", "must be a number"),
        ({"price_cents": 9.5}, "price_cents", "whole number"),
        ({"price_cents": None}, "price_cents", "required"),
        ({"price_cents": [900]}, "price_cents", "must be a number"),
        ({"title": 5}, "title", "must be a string"),
        ({"title": {"a": 1}}, "title", "must be a string"),
        ({"gift": "false"}, "gift", "must be true or false"),
        ({"gift": 0}, "gift", "must be true or false"),
        ({"title": "Em\x00ma"}, "title", "NUL"),
        ({"title": "Em\ud83dma"}, "title", "lone surrogate"),
        ({"colour": "red"}, "colour", "not a known field"),
        ({"\x00": 5}, r"\x00", "not a known field"),
        ({"\ud83d": 5}, r"\ud83d", "not a known field"),
    ],
)
def test_json_has_types_and_they_count(customer, key, change, field, reason):
    body = json.dumps({**customer.order, **change})

    assert_refused(customer.post(body, key), 422, "parameters_invalid", f"{field}: ", reason)


def test_a_document_may_hold_any_character(customer, key):
    assert customer.post({"document": {"says": "📚"}}, key, to="/echo").status_code == 201


def test_text_may_look_like_an_escape(customer, key):
    assert customer.post({"text": r"C:\u0000"}, key, to="/echo").status_code == 201


@pytest.mark.parametrize("text", ["\x00", "\ud83d"], ids=ascii)
def test_a_document_with_a_character_that_cannot_be_stored_is_refused(customer, key, text):
    body = json.dumps({"document": [{"says": text}]})

    assert_refused(customer.post(body, key, to="/echo"), 422, "parameters_invalid", "document: ")


def test_a_field_given_twice_in_json_is_refused(customer, key):
    body = '{"title": "Emma", "price_cents": 1, "price_cents": 900}'

    assert_refused(customer.post(body, key), 422, "parameters_invalid", "price_cents: ", "once")


# Bodies.


@pytest.mark.parametrize(
    ("content_type", "status", "code", "reason"),
    [
        (FORM, 422, "parameters_invalid", "price_cents: "),
        ("application/json", 400, "body_malformed", NO_JSON),
    ],
)
def test_an_empty_body_is_a_form_without_fields_and_no_json(
    customer, key, content_type, status, code, reason
):
    answer = customer.post("", key, CONTENT_TYPE=content_type, CONTENT_LENGTH="0")

    assert_refused(answer, status, code, reason)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        *[(body, NO_JSON) for body in (" ", "{", "{} {}", "{'a': 1}", '{"a": 1,}', "[" * 8000)],
        *[(body, NO_OBJECT) for body in ("[]", '"Emma"', "null", "1", "true")],
        *[(body, NO_UTF_8) for body in (b"\xff\xfe", b'{"a": "\xed\xa0\x80"}', b'{"a": "\xff"}')],
        *[
            (f'{{"price_cents": {number}}}', NO_JSON)
            for number in ("NaN", "Infinity", "-Infinity", "01", "+1", "1_0", ".5", "\uff13")
        ],
        # Valid, but out of range for every reader that Python has.
        ('{"price_cents": ' + "9" * 5000 + "}", NO_JSON),
        ('{"price_cents": 1e99999999999999999999}', NO_JSON),
        ('{"title": "\x01"}', NO_JSON),
        ('{"title": ' * 1500, NO_JSON),
        ('\ufeff{"title": "Emma"}', NO_JSON),
    ],
    ids=lambda body: ascii(body[:20]),
)
def test_a_body_that_is_no_json_object_is_refused(customer, key, body, reason):
    assert_refused(customer.post(body, key), 400, "body_malformed", reason)


@pytest.mark.parametrize(
    "body",
    [
        "[" * 8000 + "]" * 8000,
        '{"price_cents": ' + "[" * 8000 + "]" * 8000 + "}",
        '{"colour": ' + "[" * 950 + "]" * 950 + "}",
    ],
    ids=["a list", "a field", "an unknown field"],
)
def test_deep_nesting_is_refused(customer, key, body):
    """How deep its parser goes is Python's affair: before that it is no JSON, else no number."""
    answer = customer.post(body, key)

    assert answer.json()["code"] in ("body_malformed", "parameters_invalid")
    assert answer.status_code < 500


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"title=\xff", NO_UTF_8),
        ("title=%ff", NO_UTF_8),
        ("%ff=Emma", NO_UTF_8),
        ("&".join(f"f{n}=1" for n in range(101)), "more than 100 fields"),
        ("&".join(["f=1"] * 101), "more than 100 fields"),
    ],
    ids=lambda text: ascii(text[:9]),
)
def test_a_form_that_cannot_be_read_is_refused(customer, key, body, reason):
    assert_refused(customer.post(body, key, content_type=FORM), 400, "body_malformed", reason)


@pytest.mark.parametrize("content_type", [FORM, "application/json"])
def test_another_charset_makes_no_other_text_of_a_body(customer, key, content_type):
    answer = customer.post("title=³", key, content_type=f"{content_type}; charset=latin-1")

    assert_refused(answer, 400, "body_malformed", NO_UTF_8)


@pytest.mark.parametrize(
    "content_type",
    [
        *("text/plain", "text/json", "application/xml", ""),
        *("multipart/form-data", "multipart/form-data; boundary=b"),
    ],
)
def test_another_content_type_is_refused(customer, key, content_type):
    answer = customer.post(b"title=Emma", key, content_type=content_type)

    assert_refused(answer, 415, "content_type_unsupported", content_type.split(";")[0])


@pytest.mark.parametrize("content_type", [FORM, "application/json"])
def test_a_body_that_is_too_large_is_refused_unread(customer, key, content_type):
    answer = customer.post("x" * (KIB_16 + 1), key, content_type=content_type)

    assert_refused(answer, 413, "body_too_large", "16384 bytes")


def test_a_body_of_the_largest_size_is_read(customer, key):
    body = '{"text": "Emma"}'

    assert customer.post(body + " " * (KIB_16 - len(body)), key, to="/echo").status_code == 201


def test_a_length_that_is_no_number_is_the_clients_mistake(customer, key):
    answer = customer.post(json.dumps(customer.order), key, CONTENT_LENGTH="many")

    assert 400 <= answer.status_code < 500


def test_no_depth_of_nesting_is_an_error_of_ours(customer, key):
    for depth in range(900, 1000):
        body = '{"document": ' + "[" * depth + "]" * depth + "}"
        assert customer.post(body, f"{key}-{depth}", to="/kept").status_code < 500, depth


@pytest.mark.parametrize("place", ["é", "/", "a b"])
def test_a_part_of_the_path_reaches_the_operation(customer, key, place):
    answer = customer.post({}, key, to=f"/shelves/{quote(place, safe='')}")

    assert answer.status_code in (201, 404)
    assert "/" in place or answer.json() == {"shelf": place}


@pytest.mark.parametrize("place", ["%00", "x" * 2100])
def test_a_path_that_cannot_be_stored_is_the_clients_mistake(customer, key, place):
    answer = customer.post({}, key, to=f"/shelves/{place}")

    assert 400 <= answer.status_code < 500
    assert not IdempotencyKey.objects.exists()
