"""The gate: whatever is put into it comes out storable, bounded, and said where it was cut."""

import json
import math
import smtplib
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.transaction import TransactionManagementError
from django.db.utils import DataError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idempotency.exceptions import Indeterminate, NeedsReview
from idempotency.support.described import described, described_traceback
from idempotency.support.storable import (
    ENTRY_LIMIT,
    TEXT_LIMIT,
    storable_json,
    storable_json_text,
    storable_text,
)

pytestmark = pytest.mark.django_db


class Mute:
    """Raises when it is asked what it is."""

    def __str__(self) -> str:
        raise GeneratorExit("not even an Exception")


class Unreadable(dict[str, Any]):
    def items(self) -> Any:
        raise GeneratorExit


def raised(error: BaseException) -> BaseException:
    """Return the error as it is after it was raised here."""
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_text_that_can_be_stored_is_left_as_it_is() -> None:
    said = 'Zürich → 東京, "50 %", 👩‍🚀 C:\\temp'
    assert storable_text(said) == said


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("bad \x00 byte", r"bad \0 byte"),
        ("two\r\nlines\tand a tab", r"two\r\nlines\tand a tab"),
        ("\x1b[2Jgone \x9b\x7f", r"\x1b[2Jgone \x9b\x7f"),
        ("pay\u202eeviled\u2066", r"pay\u202eeviled\u2066"),
        ("line\u2028line", r"line\u2028line"),
        ("half \ud83d of a pair", r"half \ud83d of a pair"),
        (b"bytes \xff\x00", r"bytes \xff\0"),
        (Mute(), "<idempotency.tests.test_storable.Mute that cannot be shown>"),
    ],
)
def test_what_cannot_be_stored_or_shown_is_written_out(said: object, stored: str) -> None:
    assert storable_text(said) == stored


def test_a_long_text_is_cut_and_says_how_much_was_cut() -> None:
    stored = storable_text("é" * 1_000_000)
    assert len(stored) <= TEXT_LIMIT
    kept = stored.count("é")
    assert kept > TEXT_LIMIT - 100
    assert stored.endswith(f" … [cut: {1_000_000 - kept:,} more characters]")


@given(st.text(alphabet=st.characters(codec=None), max_size=300), st.integers(0, 200))
def test_a_text_holds_its_limit_and_is_changed_once(said: str, limit: int) -> None:
    stored = storable_text(said, limit)
    assert len(stored) <= limit
    assert storable_text(stored, limit) == stored
    stored.encode()


HOSTILE: list[Any] = [
    {("a", "tuple"): 1, None: 2, 3: 4, "3": 5, b"bytes": 6, Mute(): 7},
    {"nan": math.nan, "infinite": [math.inf, -math.inf], "decimal": Decimal("NaN")},
    {"integer": 10**10_000, "smaller": 2**200, "when": datetime(2026, 1, 1, tzinfo=UTC)},
    {"bytes": b"\x00\xff", "set": {1}, "mute": Mute(), "unreadable": Unreadable(a=1)},
    {"said": "\x00\ud800" * 500_000},
    {"many": ["é\x00" * 5_000] * 5_000},
    {f"key {i}": "\\" * 1_000 for i in range(5_000)},
    {"x" * 1_000_000 + str(i): i for i in range(3)},
    [[[[[[[[[[[[[[[["deep"]]]]]]]]]]]]]]]],
    list(range(1_000_000)),
    "a text",
    None,
]


def in_a_circle() -> Any:
    circle: dict[str, Any] = {"wide": list(range(9))}
    circle["itself"] = [circle] * 9
    return circle


@pytest.mark.parametrize("evidence", [*HOSTILE, in_a_circle()], ids=range(len(HOSTILE) + 1))
def test_any_value_becomes_json_that_postgresql_stores(evidence: Any) -> None:
    stored = storable_json(evidence)
    text = json.dumps(stored, allow_nan=False)
    assert len(json.dumps(stored, ensure_ascii=False).encode()) <= ENTRY_LIMIT
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::jsonb", [text])
    assert storable_json_text(evidence)


def test_json_says_what_was_cut_and_what_it_has_no_word_for() -> None:
    stored = storable_json({"numbers": list(range(100_000)), "after": "x"})
    assert stored["numbers"][:3] == [0, 1, 2]
    kept = len(stored["numbers"]) - 1
    assert stored["numbers"][-1] == f"… [cut: {100_000 - kept:,} more entries]"
    assert storable_json({1: math.nan, "1": 10**400}) == {"1": "nan", "1 (2)": "<1329 bits>"}


def test_two_keys_that_are_the_same_text_are_both_kept() -> None:
    assert storable_json({1: "a", "1": "b"}) == {"1": "a", "1 (2)": "b"}


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        {"n": 2**63},
        {"n": math.nan},
        {1: "a", "1": "b"},
        {"k" * 300: 1},
        {"del": "\x7f"},
        [[1]],
        {},
    ],
)
def test_an_entry_is_written_as_the_gate_lets_it_through(value: Any) -> None:
    assert json.loads(storable_json_text(value)) == storable_json(value)


# How fast this machine draws is not what is tested.
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    )
)
def test_the_gate_for_json_holds_its_limit_whatever_it_gets(value: Any) -> None:
    for limit in (1_500, ENTRY_LIMIT):
        stored = storable_json(value, limit)
        assert len(json.dumps(stored, ensure_ascii=False, allow_nan=False).encode()) <= limit
    assert json.loads(storable_json_text(value)) == storable_json(value)


def test_of_an_error_of_ours_the_message_is_kept() -> None:
    assert described(Indeterminate("bad \x00 byte")) == r"bad \0 byte"
    assert described(NeedsReview("look", evidence={"a": 1})) == "look"
    assert described(Indeterminate(Mute())) == (  # type: ignore[arg-type]
        "<idempotency.exceptions.Indeterminate that cannot be shown>"
    )


@pytest.mark.not_in_a_cell("an error names the shard")
def test_of_an_error_of_the_database_no_value_and_no_statement_is_kept() -> None:
    """DETAIL repeats the row, the excerpt the statement, and a message of class 22 the value."""
    said = {}
    for statement, kind in {
        "SELECT 'user@example.com'::int": DataError,
        "SELECT E'first\\nuser@example.com'::date": DataError,
        "DO $$ BEGIN RAISE 'about user@example.com'; END $$": Exception,
        "INSERT INTO idempotency_reaperposition VALUES (2, now() -- user@example.com\n)": (
            IntegrityError
        ),
        "SELECT missing -- user@example.com": Exception,
    }.items():
        with (
            pytest.raises(kind) as caught,
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
        said[statement] = described(caught.value)
    assert not [text for text in said.values() if "user@example.com" in text]
    assert [text.partition(": ")[2] for text in said.values()] == [
        "SQLSTATE 22P02",
        "SQLSTATE 22007",
        "SQLSTATE P0001",
        'SQLSTATE 23514: new row for relation "idempotency_reaperposition" violates check '
        'constraint "reaper_position_is_one_row"',
        'SQLSTATE 42703: column "missing" does not exist',
    ]


def test_of_a_lost_connection_the_drivers_words_are_kept() -> None:
    cause = connection.Database.OperationalError(
        "server closed the connection unexpectedly\n\tThis probably means a crash\n"
    )
    error = OperationalError(*cause.args)
    error.__cause__ = cause
    assert described(error).endswith(
        "server closed the connection unexpectedly This probably means a crash"
    )


def test_of_anybody_elses_error_the_type_its_numbers_and_the_place_are_kept() -> None:
    place = "at idempotency.tests.test_storable:"
    refused = described(raised(smtplib.SMTPDataError(550, b"user@example.com is unknown")))
    assert refused.startswith(f"smtplib.SMTPDataError smtp_code=550 {place}")
    away = described(raised(ConnectionRefusedError(111, "user@example.com")))
    assert away.startswith(f"ConnectionRefusedError errno=111 {place}")
    assert described(raised(ValueError("user@example.com"))).startswith(f"ValueError {place}")


def test_where_a_library_raised_an_error_the_line_that_called_it_is_told_too() -> None:
    with pytest.raises(ValueError, match="Expecting value") as caught:
        json.loads("user@example.com")
    said = described(caught.value)
    assert said.startswith("json.decoder.JSONDecodeError at json.decoder:")
    assert ", from idempotency.tests.test_storable:" in said


def test_a_traceback_tells_the_lines_of_all_causes_and_none_of_their_words() -> None:
    address = "user@example.com"
    try:
        try:
            raise KeyError(address)
        except KeyError as error:
            raise Indeterminate("It did not answer.") from error
    except Indeterminate as error:
        told = described_traceback(error)
    assert address not in told
    assert told.index("KeyError") < told.index("which led to") < told.index("It did not answer.")
    assert "raise KeyError(address)" in told


def test_an_error_of_the_database_that_was_caught_is_named_where_the_code_went_on():
    with pytest.raises(TransactionManagementError) as went_on:
        catch_an_error_and_go_on()

    assert "TransactionManagementError: went on after" in described(went_on.value)
    assert "SQLSTATE 23505" in described(went_on.value)


def catch_an_error_and_go_on():
    Group.objects.create(name="one")
    with transaction.atomic():
        with suppress(IntegrityError):
            Group.objects.create(name="one")
        Group.objects.count()
