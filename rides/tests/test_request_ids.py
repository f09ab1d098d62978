"""A request has an id: the client's or a new one, in the answer, the log and the journal; and each
answer of Stripe's has its own there beside it.
"""

import json
import logging
import re
from collections.abc import Iterator
from io import StringIO

import pytest
from django.test import Client

from idempotency.console.picture import picture_of
from idempotency.support.context import CALL, CallInHand
from idempotency.testing.clock import let_time_pass
from idempotency.watching.logs import AddContext, hash_of_key
from rides import operations
from rides.tests.booking import (
    BOOKED,
    CHARGING,
    FORM,
    KEY,
    RIDER,
    RIDER_WITH_BAD_CARD,
    ask,
    the_key,
)
from rocketrides.logs import JsonFormatter, LineFormatter

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

OF_THE_CLIENT = "order.2026_11-30"
MADE = re.compile(r"[0-9a-f]{32}")


def asked_as(request_id: str, **options: object):
    return ask(client=Client(headers={"X-Request-Id": request_id}), **options)


@pytest.fixture
def log() -> Iterator[StringIO]:
    """What is logged, as production writes it."""
    written = StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter(json_ensure_ascii=False))
    handler.addFilter(AddContext())
    root, before = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield written
    root.removeHandler(handler)
    root.setLevel(before)


def lines(log: StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def events(name: str) -> list[dict[str, object]]:
    return [entry for entry in the_key().journal if entry["event"] == name]


def test_the_clients_own_id_comes_back_and_stands_in_the_journal():
    answer = asked_as(OF_THE_CLIENT)

    assert answer.headers["X-Request-Id"] == OF_THE_CLIENT
    assert events("claimed")[0]["request_id"] == OF_THE_CLIENT


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", "a\tb", "é", "a/b", "a,b"])
def test_an_id_that_is_not_plain_is_replaced(given):
    answer = asked_as(given)

    assert MADE.fullmatch(answer.headers["X-Request-Id"])
    assert events("claimed")[0]["request_id"] == answer.headers["X-Request-Id"]


def test_each_attempt_has_the_id_of_the_request_that_made_it(stand_in):
    asked_as("first", raise_error="true")
    asked_as("second")

    assert events("claimed")[0]["request_id"] == "first"
    assert events("retried")[0]["request_id"] == "second"


def test_a_replay_has_its_own_id_and_the_same_bytes():
    first, second = asked_as("first"), asked_as("second")

    assert (first.headers["X-Request-Id"], second.headers["X-Request-Id"]) == ("first", "second")
    assert first.content == second.content
    assert "X-Request-Id" not in the_key().response_headers


def test_an_error_has_the_id_too(client):
    for address in ("/rides", "/nowhere", "/admin/", "/openapi.json"):
        assert (
            client.get(address, headers={"X-Request-Id": "mine"}).headers["X-Request-Id"] == "mine"
        )


def test_stripes_own_id_of_each_answer_stands_with_the_call(stand_in):
    assert ask().status_code == 201

    [call] = events("charge_rider")[0]["calls"]
    assert call["request_id"].startswith("req_")
    assert call["status"] == 200
    assert "replayed" not in call


def test_a_replay_of_stripes_is_said_to_be_one(stand_in):
    stand_in.add_fault("reset_after", times=3, path=CHARGING)
    assert ask().status_code == 503
    let_time_pass(operations.RESEND_WINDOW / 2)

    assert ask().status_code == 201
    calls = [call for entry in the_key().journal for call in entry.get("calls", ())]
    assert any(call.get("replayed") for call in calls)


def test_the_answers_of_a_call_that_failed_are_kept_with_the_failure(stand_in):
    stand_in.add_fault("error_before", times=1, path=CHARGING)
    assert ask().status_code == 503

    [entry] = events("outcome_unknown")
    assert entry["calls"][0]["status"] == 500
    assert entry["calls"][0]["request_id"].startswith("req_")
    assert entry["phase"] == "charge_rider"
    assert entry["ms"] > 0


def test_a_call_without_an_answer_is_noted_with_how_long_it_was_waited_for(stand_in):
    stand_in.add_fault("reset_after", times=3, path=CHARGING)
    assert ask().status_code == 503

    [entry] = events("outcome_unknown")
    assert entry["calls"]
    assert all(call["error"].startswith("libcurl ") for call in entry["calls"])
    assert not any("status" in call for call in entry["calls"])
    [bar] = [bar for bar in picture_of(the_key()).bars if bar.kind == "failure"]
    assert "in charge_rider" in bar.said
    assert "no answer libcurl" in bar.said


def test_a_failure_of_a_later_phase_is_not_told_as_stripes(monkeypatch):
    def fail(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(operations.CreateRide.send_receipt, "method", fail)
    assert ask().status_code == 500

    [entry] = events("internal_error")
    assert not {"calls", "phase"} & set(entry)


def test_a_call_that_an_earlier_request_left_from_is_not_told_as_a_later_ones(monkeypatch):
    """The server's threads serve one request after the other."""

    def fail(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(operations.CreateRide.create_ride, "method", fail)
    CALL.set(CallInHand(operations.CreateRide.charge_rider))
    assert ask().status_code == 500

    [entry] = events("internal_error")
    assert not {"calls", "phase"} & set(entry)


def test_nothing_of_the_request_goes_to_stripe(stand_in):
    """Two attempts of two requests send the same, so an id of either is in neither."""
    asked_as("of-the-first", raise_error="true")
    asked_as("of-the-second")

    sent = json.dumps([stand_in.calls(), stand_in.charges(), stand_in.payment_intents()])
    assert "of-the-" not in sent
    assert stand_in.calls()["mismatches"] == 0


# The log.


def test_a_request_is_one_line_with_all_that_is_looked_for(log):
    asked_as(OF_THE_CLIENT)

    [line] = [line for line in lines(log) if line["logger"] == "idempotency.requests"]
    assert line["message"] == "answered"
    assert line["request_id"] == OF_THE_CLIENT
    assert line["operation"] == "rides.CreateRide"
    assert line["key"] == hash_of_key(KEY)
    assert (line["outcome"], line["source"], line["attempt"]) == ("201", "client", 1)
    assert line["recovery_point"] == "finished"
    assert 0 < line["ms"] < 60_000


@pytest.mark.parametrize(
    ("ways", "outcome"),
    [
        ({"rider": RIDER_WITH_BAD_CARD}, "402"),
        ({"raise_error": "true"}, "internal_error"),
        ({"origin_lat": "nowhere"}, "parameters_invalid"),
        ({"rider": "nobody@example.com"}, "unauthenticated"),
        ({"key": "short"}, "idempotency_key_invalid"),
    ],
)
def test_a_line_says_how_it_ended(log, ways, outcome):
    ask(**ways)

    [line] = [line for line in lines(log) if line["logger"] == "idempotency.requests"]
    assert line["outcome"] == outcome


def test_a_replay_is_told_from_a_first_answer(log):
    ask()
    ask()

    told = [line["outcome"] for line in lines(log) if line["logger"] == "idempotency.requests"]
    assert told == ["201", "replayed"]


def test_an_error_within_says_whose_request_it_is_about(log, monkeypatch):
    def fail(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(operations.CreateRide.create_ride, "method", fail)
    asked_as(OF_THE_CLIENT)

    [line] = [line for line in lines(log) if line["level"] == "error"]
    assert (line["request_id"], line["key"]) == (OF_THE_CLIENT, hash_of_key(KEY))
    assert line["operation"] == "rides.CreateRide"
    assert "ValueError" in line["message"]


def test_a_line_of_another_request_says_nothing_of_the_one_before(log):
    asked_as(OF_THE_CLIENT)
    logging.getLogger("elsewhere").warning("later")

    [line] = [line for line in lines(log) if line["logger"] == "elsewhere"]
    assert line.keys() == {"at", "level", "logger", "message"}


def test_no_key_of_a_client_is_in_the_log(log):
    ask()
    Client().post("/rides", "x", FORM, headers={"Authorization": RIDER, "Idempotency-Key": KEY})

    assert KEY not in log.getvalue()
    assert RIDER not in log.getvalue()


def test_a_line_for_people_has_the_same_fields():
    record = logging.LogRecord("rides", logging.INFO, "x.py", 1, "said %s", ("so",), None)
    record.request_id, record.attempt = "mine", 2

    line = LineFormatter().format(record)
    assert line.endswith('level=info logger=rides message="said so" request_id=mine attempt=2')
    assert json.loads(JsonFormatter().format(record))["attempt"] == 2


def test_what_somebody_gives_a_record_besides_is_not_written():
    record = logging.LogRecord("django.request", logging.ERROR, "x.py", 1, "no", (), None)
    record.request, record.sql = BOOKED, KEY

    assert json.loads(JsonFormatter().format(record)).keys() == {"at", "level", "logger", "message"}
