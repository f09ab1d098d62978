"""An answer that cannot be stored or sent is refused where its author wrote it, and what was done
before it is kept."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import pytest
from django.urls import path

from idempotency import STARTED, Operation, RecoveryPoint, Response, atomic_phase, foreign_phase
from idempotency.exceptions import UnsendableAnswer
from idempotency.models import STARTED as BEGUN
from idempotency.models import IdempotencyKey
from idempotency.tests import bookshop

ANSWERS: dict[str, tuple[Any, ...]] = {
    "half a pair": (200, "half \ud83d of a pair", "text/plain"),
    "no text of its charset": (200, "東京", "text/plain; charset=latin-1"),
    "NaN": (200, {"price": math.nan}),
    "infinity": (200, [math.inf]),
    "a tuple for a key": (200, {("a", "b"): 1}),
    "an object": (200, {"said": object()}),
    "bytes within JSON": (200, {"said": b"bytes"}),
    "too long a number": (200, 10**5_000),
    "204 with a body": (204, {"done": True}),
    "204 with a text": (204, "done", "text/plain"),
    "304 with a body": (304, {}),
    "a status that is none": (99, {}),
    "a status that is not final": (102, {}),
    "a status of no class": (600, {}),
    "a status in words": ("201", {}),
    "a status that is true": (True, {}),
    "a content type of two lines": (200, "x", "text/plain\r\nSet-Cookie: a=b"),
    "a content type that is none": (200, "x", 7),
    "a content type too long": (200, "x", f"text/{'x' * 300}"),
    "a charset that nobody knows": (200, "x", "text/plain; charset=none-such"),
    "a header whose name is none": (200, "x", "text/plain", {"Two words": "x"}),
    "a header of two lines": (200, "x", "text/plain", {"Location": "/x\r\nSet-Cookie: a=b"}),
    "a header that no head can carry": (200, "x", "text/plain", {"Location": "/東京"}),
    "a header that is no text": (200, "x", "text/plain", {"X-Count": 7}),
    "headers that are too long": (200, "x", "text/plain", {"Link": "x" * 20_000}),
    "a cookie": (200, "x", "text/plain", {"Set-Cookie": "session=of-somebody"}),
    "a header of one connection": (200, "x", "text/plain", {"connection": "close"}),
    "a length of its own": (200, "x", "text/plain", {"Content-Length": "7"}),
}


class Answers(Operation):
    """Pays, and answers with what the test says."""

    answer: tuple[Any, ...] = (201, {})

    @foreign_phase(STARTED, window=bookshop.WINDOW, worst_case=bookshop.WINDOW / 1_000)
    def ask(self) -> str:
        return "paid"

    @ask.commit
    def note(self, answer: str) -> RecoveryPoint:
        return RecoveryPoint("noted")

    @atomic_phase("noted")
    def finish(self) -> Response:
        return Response(*self.answer)


class AnswersAtOnce(Operation):
    @atomic_phase(STARTED)
    def finish(self) -> Response:
        return Response(*Answers.answer)


urlpatterns = [path("answers", Answers.as_view()), path("at-once", AnswersAtOnce.as_view())]


@contextmanager
def raising_unsendable() -> Iterator[None]:
    with pytest.raises(UnsendableAnswer) as caught:
        yield
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("answer", ANSWERS)
def test_it_is_refused_in_the_line_that_makes_it(answer: str) -> None:
    with raising_unsendable():
        Response(*ANSWERS[answer])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("answer", ANSWERS)
def test_what_was_done_before_it_is_kept(customer, key, stored, monkeypatch, answer) -> None:
    monkeypatch.setattr(Answers, "answer", ANSWERS[answer])

    said = customer.post({}, key, to="/answers")

    assert (said.status_code, said.json()["code"]) == (500, "internal_error")
    row = stored()
    assert (row.recovery_point, row.locked_at) == ("noted", None)
    assert row.last_error.startswith("UnsendableAnswer: ")

    monkeypatch.undo()
    assert customer.post({}, key, to="/answers").status_code == 201
    events = [entry["event"] for entry in stored().journal]
    assert events.count("ask") == 1


@pytest.mark.django_db(transaction=True)
def test_in_the_first_phase_it_leaves_the_key_claimed(customer, key, stored, monkeypatch) -> None:
    monkeypatch.setattr(Answers, "answer", (200, math.nan))
    assert customer.post({}, key, to="/at-once").status_code == 500
    assert (stored().recovery_point, stored().locked_at) == (BEGUN, None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("answer", "sent", "content_type"),
    [
        ((201, {"at": datetime(2026, 1, 1, tzinfo=UTC)}), b'{"at": "2026-01-01T00:00:00Z"}', True),
        ((HTTPStatus.OK, "Grüße", "text/plain"), "Grüße".encode(), True),
        ((200, "Grüße", "text/plain; charset=latin-1"), "Grüße".encode("latin-1"), True),
        ((200, "<p>é</p>".encode(), "text/html"), "<p>é</p>".encode(), True),
        ((200, b'{"a": 1}'), b'{"a": 1}', True),
        ((200, {"said": "\x00 \ud83d"}), rb'{"said": "\u0000 \ud83d"}', True),
        ((200,), b"null", True),
        ((204,), b"", False),
        ((204, "", "text/plain"), b"", False),
        ((304,), b"", False),
        ((200, "a \x00 b", "text/plain"), b"a \x00 b", True),
        ((200, b"\xff\xfe\x00", "application/octet-stream"), b"\xff\xfe\x00", True),
        ((200, b"caf\xe9", "text/plain; charset=utf-8"), b"caf\xe9", True),
    ],
    ids=str,
)
def test_any_other_is_sent_and_replayed_byte_for_byte(
    customer, key, monkeypatch, answer, sent, content_type
) -> None:
    monkeypatch.setattr(Answers, "answer", answer)

    first = customer.post({}, key, to="/at-once")
    replay = customer.post({}, key, to="/at-once")

    assert first.status_code == replay.status_code == answer[0]
    assert first.content == replay.content == sent
    assert ("Content-Type" in first.headers) == ("Content-Type" in replay.headers) == content_type
    assert replay.headers.get("Idempotent-Replayed") == "true"


@pytest.mark.django_db(transaction=True)
def test_its_headers_are_stored_and_replayed(customer, key, stored, monkeypatch) -> None:
    headers = {"Location": "/orders/7", "ETag": '"7"', "X-Empty": ""}
    monkeypatch.setattr(Answers, "answer", (201, b"\x89PNG", "image/png", headers))

    first = customer.post({}, key, to="/at-once")
    replay = customer.post({}, key, to="/at-once")

    for answer in (first, replay):
        assert {name: answer.headers[name] for name in headers} == headers
        assert (answer.headers["Content-Type"], answer.content) == ("image/png", b"\x89PNG")
    assert stored().response_headers == headers


@pytest.mark.django_db(transaction=True)
def test_a_refusal_in_words_of_the_outside_is_bounded_and_storable(customer, key) -> None:
    refusal = Response.error(402, "\x00" + "é" * 1_000_000, code="declined")
    assert len(refusal.content) < 20_000
    assert b"\\u0000" not in refusal.content
    assert not IdempotencyKey.objects.exists()
