"""What a ride request may say, and the words that refuse it."""

from decimal import Decimal

import pytest

from rides.forms import DemoRideForm

VALID = {"origin_lat": "0.0", "origin_lon": "0.0", "target_lat": "0.0", "target_lon": "0.0"}

NOT_A_NUMBER = "must be a number in decimal digits, such as 37.7793."


def errors_of(**fields: object) -> dict[str, list[str]]:
    return dict(DemoRideForm({**VALID, **fields}).errors)


@pytest.mark.parametrize(
    ("text", "degrees"),
    [
        ("37.7793", "37.7793"),
        ("-90", "-90"),
        ("90.0000000000", "90"),
        ("+1.5", "1.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("-0", "0"),
        ("1e1", "10"),
        ("1E-7", "0.0000001"),
        ("1.0000000001", "1.0000000001"),
        (37, "37"),
        (Decimal("37.7793"), "37.7793"),
    ],
)
def test_a_coordinate_in_decimal_digits_is_accepted(text, degrees):
    form = DemoRideForm({**VALID, "origin_lat": text})

    assert form.is_valid()
    assert form.cleaned_data["origin_lat"] == Decimal(degrees)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is missing."),
        (None, "is missing."),
        ("north", NOT_A_NUMBER),
        ("nan", NOT_A_NUMBER),
        ("sNaN", NOT_A_NUMBER),
        ("inf", NOT_A_NUMBER),
        ("-Infinity", NOT_A_NUMBER),
        ("1e999", NOT_A_NUMBER),
        (Decimal("1e999"), NOT_A_NUMBER),
        ("1_0", NOT_A_NUMBER),
        ("1,5", NOT_A_NUMBER),
        ("0x10", NOT_A_NUMBER),
        (Decimal("1e-400"), NOT_A_NUMBER),
        ("1 ", NOT_A_NUMBER),
        (" 1", NOT_A_NUMBER),
        ("1\n", NOT_A_NUMBER),
        ("٣٧", NOT_A_NUMBER),
        ("３７", NOT_A_NUMBER),  # noqa: RUF001 (fullwidth on purpose)
        ("--1", NOT_A_NUMBER),
        (".", NOT_A_NUMBER),
        ("90.0000001", "must be between -90 and 90."),
        ("-90.0000001", "must be between -90 and 90."),
        ("1e99", "must be between -90 and 90."),
        ("9" * 4000, "must be between -90 and 90."),
        ("1.00000000001", "must have at most 10 decimals."),
        ("1e-11", "must have at most 10 decimals."),
        ("90." + "0" * 40 + "1", "must have at most 10 decimals."),
    ],
)
def test_any_other_coordinate_is_refused_with_the_reason(text, reason):
    assert errors_of(origin_lat=text) == {"origin_lat": [reason]}


def test_a_longitude_goes_to_180_degrees():
    assert errors_of(origin_lon="180", target_lon="-180") == {}
    assert errors_of(target_lon="180.0000001") == {"target_lon": ["must be between -180 and 180."]}


@pytest.mark.parametrize("field", sorted(VALID))
def test_each_coordinate_is_needed(field):
    form = DemoRideForm({name: value for name, value in VALID.items() if name != field})

    assert form.errors == {field: ["is missing."]}


@pytest.mark.parametrize(
    ("value", "flag"),
    [("true", True), ("True", True), (True, True), ("false", False), (False, False), ("", False)],
)
def test_raise_error_is_true_or_false(value, flag):
    form = DemoRideForm({**VALID, "raise_error": value})

    assert form.is_valid()
    assert form.cleaned_data["raise_error"] is flag


def test_raise_error_is_false_when_absent():
    form = DemoRideForm(VALID)

    assert form.is_valid()
    assert form.cleaned_data["raise_error"] is False


@pytest.mark.parametrize("value", ["1", "yes", "on", "tru", 1])
def test_raise_error_is_nothing_else(value):
    assert errors_of(raise_error=value) == {"raise_error": ["must be true or false."]}
