"""A worker whose clock is an hour off does no harm: all times that count are the database's.

The workers are real processes. Python's wall clock is shifted in them before anything else is
imported; the clock by which a process measures its lease goes on as it is.
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection

from idempotency.jobs.delivering import drain_staged_jobs
from idempotency.models import IdempotencyKey, JobDelivery
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import ORDERED, WINDOW, Death
from idempotency.tests.ledger import Fault
from idempotency.tests.processes import run_command, started_command, wait_for_line
from idempotency.workers.completing import complete_due_keys

pytestmark = pytest.mark.django_db(transaction=True)

AN_HOUR = timedelta(hours=1)
HALF_AN_HOUR = timedelta(minutes=30)
A_MINUTE = timedelta(minutes=1)
GRACE = timedelta(seconds=300)
RETENTION = timedelta(hours=72)

# Values that were made before, by C code among others, stay instances of the class.
SHIFT_THE_CLOCK = """
import datetime, time

shift = {seconds}
real_time, real_time_ns, real_datetime = time.time, time.time_ns, datetime.datetime
time.time = lambda: real_time() + shift
time.time_ns = lambda: real_time_ns() + shift * 10**9


class AnyDatetime(type):
    def __instancecheck__(cls, value):
        return isinstance(value, real_datetime)


class datetime_(real_datetime, metaclass=AnyDatetime):
    @classmethod
    def now(cls, tz=None):
        return real_datetime.now(tz) + datetime.timedelta(seconds=shift)


datetime.datetime = datetime_
"""


@pytest.fixture(params=[AN_HOUR, -AN_HOUR], ids=["ahead", "behind"])
def shift(request, tmp_path, monkeypatch) -> timedelta:
    """How far off the clock is of the processes that the test starts."""
    shift_clock(request.param, tmp_path, monkeypatch)
    return request.param


@pytest.fixture
def ahead(tmp_path, monkeypatch) -> None:
    shift_clock(AN_HOUR, tmp_path, monkeypatch)


@pytest.fixture
def behind(tmp_path, monkeypatch) -> None:
    shift_clock(-AN_HOUR, tmp_path, monkeypatch)


def shift_clock(by: timedelta, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = SHIFT_THE_CLOCK.format(seconds=int(by.total_seconds()))
    (folder / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


@pytest.fixture
def died(customer, key, ledger) -> Callable[[], None]:
    """A request whose process dies after the payment; its lease is still held."""

    def die() -> None:
        with pytest.raises(Death):
            customer.send(key, dies_in="pay")

    return die


def test_the_clock_of_these_processes_is_an_hour_off(shift, ledger):
    with started_command("completer") as completer:
        started = wait_for_line(completer, "started")[-1]

    logged_at = datetime.fromisoformat(re.search(r"at=(\S+)", started)[1])
    assert abs(logged_at - database_time() - shift) < A_MINUTE


# The completer.


def test_a_clock_that_is_ahead_takes_nobodys_lease_and_nobodys_first_right(ahead, died):
    died()
    IdempotencyKey.objects.update(run_after="2026-01-01T00:00Z")
    assert run_command("completer", "--once").startswith("succeeded=0 failed=0")

    IdempotencyKey.objects.update(locked_at=None, run_after=database_time() + HALF_AN_HOUR)
    assert run_command("completer", "--once").startswith("succeeded=0 failed=0")


def test_a_clock_that_is_behind_keeps_nothing_from_being_completed(behind, died, stored, ledger):
    died()
    let_time_pass(GRACE)

    assert run_command("completer", "--once").startswith("succeeded=1 failed=0")
    assert stored().is_finished
    assert len(ledger.payments) == 1


def test_what_a_worker_writes_down_is_the_databases_time(shift, died, stored, ledger):
    died()
    let_time_pass(GRACE)
    ledger.faults = [Fault.ERROR_BEFORE]
    before = database_time()

    run_command("completer", "--once")

    after, row = database_time(), stored()
    assert before < row.last_run_at < after
    assert before + A_MINUTE < row.run_after < after + A_MINUTE * 3
    written = [datetime.fromisoformat(each["at"]) for each in row.journal if each["attempt"] == 2]
    assert before < min(written) <= max(written) < after


def test_a_key_that_such_a_worker_left_is_gone_on_with_in_time(shift, died, stored, ledger):
    died()
    let_time_pass(GRACE)
    ledger.faults = [Fault.ERROR_BEFORE]
    run_command("completer", "--once")
    assert (stored().recovery_point, stored().locked_at) == (ORDERED, None)

    let_time_pass(A_MINUTE * 3)

    assert complete_due_keys(10).counts["succeeded"] == 1
    assert len(ledger.payments) == 1


# The provider's window.


def test_a_clock_that_is_ahead_still_sends_again_inside_the_window(ahead, died, ledger):
    died()
    let_time_pass(WINDOW - HALF_AN_HOUR)

    run_command("completer", "--once")

    assert ledger.calls == ["POST payments", "POST payments"]


def test_a_clock_that_is_behind_sends_nothing_past_the_window(behind, died, ledger):
    died()
    let_time_pass(WINDOW + HALF_AN_HOUR)
    ledger.forget_keys()

    run_command("completer", "--once")

    assert ledger.calls == ["POST payments", "GET payments"]
    assert len(ledger.payments) == 1


# The reaper and the enqueuer.


def test_a_clock_that_is_ahead_reaps_nothing_too_early(ahead, customer, key, stored, ledger):
    customer.send(key)
    let_time_pass(RETENTION - HALF_AN_HOUR)

    assert run_command("reaper", "--once") == "reaped=0\n"
    assert customer.send(key).headers["Idempotent-Replayed"] == "true"


def test_a_clock_that_is_behind_reaps_in_time(behind, customer, key, stored, ledger):
    customer.send(key)
    let_time_pass(RETENTION + HALF_AN_HOUR)

    assert run_command("reaper", "--once") == "reaped=1\n"


@pytest.mark.parametrize(("waited", "deliveries"), [(HALF_AN_HOUR / 60, 1), (A_MINUTE * 2, 2)])
def test_a_job_is_handed_over_again_by_the_databases_time(
    shift, customer, key, ledger, waited, deliveries
):
    customer.send(key)
    drain_staged_jobs(10)
    let_time_pass(waited)

    run_command("enqueuer", "--once")

    assert JobDelivery.objects.get().deliveries == deliveries
