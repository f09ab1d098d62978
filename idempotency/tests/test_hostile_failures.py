"""Whatever a phase raises and says, the failure is written down and the key is let go, and no other
key waits for it."""

import asyncio
import io
import json
import math
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django import forms
from django.core.management import call_command
from django.db import DataError, OperationalError, ProgrammingError, connection
from django.urls import path

from idempotency import (
    FINISHED,
    STARTED,
    Indeterminate,
    NeedsReview,
    Operation,
    RecoveryPoint,
    Response,
    atomic_phase,
    foreign_phase,
)
from idempotency.models import IdempotencyKey
from idempotency.review.decisions import ask_foreign_system
from idempotency.support.storable import ENTRY_LIMIT, TEXT_LIMIT
from idempotency.testing.clock import let_time_pass
from idempotency.tests import bookshop
from idempotency.workers import loop as worker
from idempotency.workers.completing import complete_due_keys
from idempotency.workers.reaping import send_overdue_keys_to_review

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = timedelta(hours=80)


class Mute(Exception):
    def __str__(self) -> str:
        raise self


class Careless(Indeterminate):
    """A subclass of an author's that forgot what its base class sets."""

    def __init__(self) -> None:
        pass


class OfTwoKinds(Indeterminate, OSError):
    """An author's own, which Python has a constructor of its own for."""


class NotAnException(BaseException):
    """What a library raises that wants no `except Exception` to stop it."""


def circle() -> dict[str, Any]:
    evidence: dict[str, Any] = {}
    evidence["again"] = [evidence, evidence]
    return evidence


def deep() -> Any:
    return deep()


def looking(evidence: Any) -> Callable[[], BaseException]:
    return lambda: NeedsReview("look", evidence=evidence)


WITH_A_VERDICT: dict[str, Callable[[], BaseException]] = {
    "a NUL": lambda: Indeterminate("bad \x00 byte"),
    "half a pair": lambda: Indeterminate("half \ud83d of a pair"),
    "a megabyte": lambda: Indeterminate("é" * 500_000),
    "bytes": lambda: Indeterminate(b"\xff\x00"),  # type: ignore[arg-type]
    "careless": Careless,
    "of two kinds": lambda: OfTwoKinds("no such host"),
}
FOR_REVIEW: dict[str, Callable[[], BaseException]] = {
    "evidence with a NUL": looking({"said": "bad \x00 byte", "bad \x00 key": 1}),
    "evidence with a tuple for a key": looking({("a", "pair"): math.nan, None: {1, 2}}),
    "evidence of 10 MB": looking({"said": ["\x00" * 1_000] * 10_000}),
    "evidence in a circle": looking(circle()),
    "evidence that is mute": looking({"said": Mute()}),
    "evidence that is a text": looking("said \x00 so"),
}
WITHOUT: dict[str, Callable[[], BaseException]] = {
    "a mute error": Mute,
    "no Exception": lambda: NotAnException("\x00" * 1_000_000),
    "the end of a generator": lambda: GeneratorExit("\x00"),
    "the end of an iterator": lambda: StopIteration("\x00"),
    "a cancelled task": lambda: asyncio.CancelledError("\x00"),
    "a group": lambda: BaseExceptionGroup("\x00", [NotAnException("\x00")]),
    "an error of the database": lambda: DataError("\x00"),
    "recursion": lambda: deep(),
}
RAISED = {**WITH_A_VERDICT, **FOR_REVIEW, **WITHOUT}


class HostileForm(forms.Form):
    raises = forms.CharField(required=False)
    late = forms.BooleanField(required=False)


class MeetsAnything(Operation):
    """Its foreign system, or the phase after it, does what the request names."""

    params_form = HostileForm

    @foreign_phase(STARTED, window=bookshop.WINDOW, worst_case=timedelta(seconds=10))
    def ask(self) -> str:
        if not self.params["late"]:
            self.fail()
        return "an answer"

    @ask.lookup
    def look_up(self) -> None:
        self.fail()

    @ask.commit
    def note(self, answer: str) -> RecoveryPoint:
        return RecoveryPoint("noted")

    @atomic_phase("noted")
    def finish(self) -> Response:
        if self.params["late"]:
            self.fail()
        return Response(201, {})

    def clean_up(self) -> None:
        self.fail()

    def fail(self) -> None:
        if self.params["raises"]:
            raise RAISED[self.params["raises"]]()


urlpatterns = [path("anything", MeetsAnything.as_view())]

each_way = pytest.mark.parametrize("raises", RAISED)


def assert_written_down(row: IdempotencyKey) -> None:
    assert row.locked_at is None
    assert row.last_error or row.last_error == str(Careless())
    assert len(row.last_error) <= TEXT_LIMIT
    for entry in row.journal:
        assert len(json.dumps(entry, ensure_ascii=False).encode()) < ENTRY_LIMIT + 200
        assert "\x00" not in json.dumps(entry)


@each_way
def test_a_client_gets_an_answer_and_the_failure_stands_on_the_key(customer, key, stored, raises):
    answer = customer.post({"raises": raises}, key, to="/anything")

    expected = 503 if raises in WITH_A_VERDICT | FOR_REVIEW else 500
    assert (answer.status_code, answer.json()["retryable"]) == (expected, True)
    assert len(answer.content) < 20_000
    assert_written_down(stored())
    assert stored().is_under_review == (raises in FOR_REVIEW)


@each_way
def test_what_the_foreign_system_answered_is_kept_when_a_later_phase_fails(
    customer, key, stored, raises
):
    answer = customer.post({"raises": raises, "late": True}, key, to="/anything")

    assert answer.status_code >= 500
    assert stored().recovery_point == "noted"
    assert_written_down(stored())


@pytest.fixture
def due_in_any_way(customer, key):
    """Leave a due request behind for each way to fail, and before and after them a sound one."""

    def leave() -> None:
        for number, raises in enumerate(["", *RAISED, ""]):
            customer.post({"raises": "a NUL"}, f"{key}-{number:02}", to="/anything")
            rows = IdempotencyKey.objects.filter(idempotency_key=f"{key}-{number:02}")
            rows.update(request_params={"raises": raises, "late": False})
        let_time_pass(timedelta(hours=2))

    return leave


@pytest.mark.parametrize("concurrency", [1, 4])
def test_no_item_ends_the_completers_batch(due_in_any_way, concurrency):
    due_in_any_way()

    done = complete_due_keys(100, concurrency=concurrency)

    assert (done.counts["succeeded"], done.counts["failed"]) == (2, len(RAISED))
    assert IdempotencyKey.objects.filter(needs_review_at__isnull=False).count() == len(FOR_REVIEW)
    for row in IdempotencyKey.objects.exclude(recovery_point=FINISHED):
        assert_written_down(row)


def test_no_item_ends_the_reapers_batch(due_in_any_way):
    due_in_any_way()
    let_time_pass(LONG_AGO)

    assert send_overdue_keys_to_review(100) == len(RAISED) + 2

    for row in IdempotencyKey.objects.all():
        assert row.is_under_review
        assert_written_down(row)


@each_way
def test_the_review_list_and_what_the_foreign_system_says_can_always_be_shown(
    customer, key, stored, raises
):
    customer.post({"raises": "evidence with a NUL"}, key, to="/anything")
    IdempotencyKey.objects.update(request_params={"raises": raises, "late": False})
    printed = io.StringIO()

    said = ask_foreign_system(stored())
    call_command("review", stdout=printed)
    call_command("review", "show", str(stored().pk), stdout=printed)

    assert "\x00" not in said + printed.getvalue()
    assert len(said) <= ENTRY_LIMIT + TEXT_LIMIT


def test_a_failure_that_says_a_megabyte_each_time_leaves_the_journal_small(customer, key, stored):
    for _ in range(41):
        customer.post({"raises": "a megabyte"}, key, to="/anything")

    journal = stored().journal
    assert len(journal) == 1 + 2 * 41 - 1
    assert len(json.dumps(journal)) < 41 * 2 * ENTRY_LIMIT
    assert "[cut: " in journal[-1]["error"]


@pytest.fixture
def signals_as_before() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    worker.Stop.asked = False


@each_way
def test_a_batch_that_raises_anything_does_not_end_a_worker(
    monkeypatch, signals_as_before, caplog, raises
):
    batches = iter([RAISED[raises], None])

    def run_batch() -> worker.Batch:
        if fail := next(batches):
            raise fail()
        worker.Stop.asked = True
        return worker.Batch("done", did_something=True, is_full=False)

    monkeypatch.setattr(worker, "_sleep", lambda seconds: None)
    worker.run_worker("tester", run_batch, pause=timedelta(0))

    assert "tester: batch failed, next in 1 s" in caplog.text
    assert "\x00" not in caplog.text


@pytest.mark.parametrize("by_the_doors", [True, False])
def test_a_worker_on_a_database_that_was_not_migrated_says_so(
    monkeypatch, signals_as_before, caplog, by_the_doors
):
    def run_batch() -> worker.Batch:
        worker.Stop.asked = True
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT FROM idempotency_of_the_next_release")
        except ProgrammingError as error:
            if by_the_doors:  # which are read by a session apart
                raise OperationalError("The doors could not be read") from error
            raise

    monkeypatch.setattr(worker, "_sleep", lambda seconds: None)
    worker.run_worker("tester", run_batch, pause=timedelta(0))

    assert "the database lacks migrations of this code (manage.py migrate)" in caplog.text


@pytest.mark.parametrize("leaves", [KeyboardInterrupt, SystemExit])
def test_the_two_that_mean_leave_end_a_batch(customer, key, stored, monkeypatch, leaves):
    monkeypatch.setitem(RAISED, "leave", leaves)
    customer.post({"raises": "a NUL"}, key, to="/anything")
    IdempotencyKey.objects.update(request_params={"raises": "leave", "late": False})
    let_time_pass(timedelta(hours=2))

    with pytest.raises(leaves):
        complete_due_keys(10)

    assert stored().locked_at is not None
