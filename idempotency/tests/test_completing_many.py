"""Many keys at a time, and many completers: each key is run once, and each outcome is counted."""

import io
import re
import signal
from datetime import timedelta
from threading import Barrier

import pytest
from django.core.management import call_command
from django.db import connection

from idempotency import FINISHED
from idempotency.models import IdempotencyKey, StagedJob
from idempotency.support.batches import Batch
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import WINDOW, Death, orders
from idempotency.tests.ledger import PATIENCE_SECONDS, Fault
from idempotency.tests.processes import run_command, started_command
from idempotency.workers.completing import Outcome, complete_due_keys

pytestmark = pytest.mark.django_db(transaction=True)

GRACE = timedelta(seconds=300)
PAUSE = timedelta(seconds=60)
LONGEST_PAUSE = timedelta(hours=1)
A_SECOND = timedelta(seconds=1)
UNTIL_IT_IS_DUE = timedelta(hours=2)


@pytest.fixture
def abandoned(customer, key, ledger):
    """Leave so many requests behind whose processes died after the payment."""

    def abandon(count):
        for n in range(count):
            with pytest.raises(Death):
                customer.send(f"{key}-{n}", dies_in="pay")
        let_time_pass(GRACE)
        ledger.calls.clear()

    return abandon


@pytest.fixture
def unanswered(customer, key, ledger, stored):
    """A request whose provider gives no answer, now or later. Returns its row."""
    ledger.faults = [Fault.ERROR_BEFORE] * 100
    customer.send(key)
    return stored


def complete(*arguments: str) -> str:
    said = io.StringIO()
    call_command("completer", "--once", *arguments, stdout=said)
    return said.getvalue().strip()


def assert_each_was_run_once(count, ledger):
    assert ledger.calls == ["POST payments"] * count
    assert set(IdempotencyKey.objects.values_list("recovery_point", "attempt")) == {(FINISHED, 2)}
    assert len(orders()) == len(ledger.payments) == StagedJob.objects.count() == count


# Many at a time.


def outcomes_of(batch: Batch) -> dict[str, int]:
    return {outcome: count for outcome, count in batch.details.items() if count}


def test_keys_are_run_at_the_same_time(abandoned, ledger):
    abandoned(4)
    together = Barrier(4)
    meetings = [ledger.meanwhile(lambda: together.wait(PATIENCE_SECONDS / 2)) for _ in range(4)]

    done = complete_due_keys(10, concurrency=4)

    assert {meeting.result() for meeting in meetings} == {0, 1, 2, 3}
    assert outcomes_of(done) == {Outcome.FINISHED: 4}
    assert_each_was_run_once(4, ledger)


def test_one_at_a_time_is_the_default(abandoned, ledger):
    abandoned(2)
    running = ledger.meanwhile(
        lambda: IdempotencyKey.objects.filter(attempt=2, locked_at__isnull=False).count()
    )

    complete()

    assert running.result() == 1


def test_a_batch_has_its_limit_however_many_threads_share_it(abandoned, ledger):
    abandoned(5)

    assert complete_due_keys(3, concurrency=4).total == 3
    assert complete_due_keys(3, concurrency=4).total == 2
    assert_each_was_run_once(5, ledger)


@pytest.mark.usefixtures("own_session")
def test_each_thread_has_a_database_connection_of_its_own_and_gives_it_back(abandoned, ledger):
    abandoned(3)
    together = Barrier(3)

    def count_connections():
        together.wait(PATIENCE_SECONDS / 2)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE application_name = 'completer' AND datname = current_database()"
            )
            return cursor.fetchone()[0]

    counts = [ledger.meanwhile(count_connections) for _ in range(3)]

    run_command("completer", "--once", "--concurrency", "3")

    # The key that the main thread claimed needs no connection until its call has been answered.
    assert {count.result() for count in counts} <= {2, 3}


def test_a_signal_lets_the_keys_in_hand_finish_and_leaves_the_others(abandoned, ledger):
    abandoned(6)
    together = Barrier(2)

    with started_command("completer", "--concurrency", "2") as completer:

        def stop():
            if together.wait(PATIENCE_SECONDS / 2) == 0:
                completer.send_signal(signal.SIGTERM)

        for _ in range(2):
            ledger.meanwhile(stop)
        _, log = completer.communicate(timeout=30)

    assert completer.returncode == 0
    assert "completer: stopped" in log
    finished = IdempotencyKey.objects.filter(recovery_point=FINISHED).count()
    assert 2 <= finished < 6
    assert IdempotencyKey.objects.exclude(recovery_point=FINISHED).exclude(attempt=1).count() == 0


# Many completers.


def test_two_completers_never_run_the_same_key(abandoned, ledger):
    abandoned(12)
    arguments = ("completer", "--once", "--concurrency", "3")

    with started_command(*arguments) as one, started_command(*arguments) as other:
        said = [each.communicate(timeout=30)[0] for each in (one, other)]

    counts = [int(count) for count in re.findall(r"succeeded=(\d+) failed=0", "".join(said))]
    assert len(counts) == 2
    assert sum(counts) == 12
    assert_each_was_run_once(12, ledger)


def test_a_completer_passes_over_what_another_has_in_hand(abandoned, ledger):
    abandoned(2)
    other = ledger.meanwhile(lambda: complete_due_keys(10))

    assert complete_due_keys(1).counts["succeeded"] == 1
    assert other.result().counts["succeeded"] == 1
    assert_each_was_run_once(2, ledger)


# What is counted.


def test_each_outcome_is_counted_as_what_it_is(customer, key, ledger, caplog):
    caplog.set_level("INFO", "idempotency")
    for n in range(2):  # the first is past the window by then, and nothing will be found
        ledger.faults = [Fault.ERROR_BEFORE]
        customer.send(f"{key}-past-the-window-{n}")
    let_time_pass(WINDOW - GRACE)
    for name in ("declined", "postponed", "finished"):
        ledger.faults = [Fault.ERROR_BEFORE]
        customer.send(f"{key}-{name}")
        let_time_pass(timedelta(seconds=1))
    let_time_pass(GRACE)
    # Those that wait longest are first: two look-ups, then one sending for each name.
    ledger.calls.clear()
    ledger.faults = [None, None, Fault.DECLINE, Fault.ERROR_BEFORE, None]

    assert complete() == "succeeded=2 failed=3"
    assert "finished=1 declined=1 pending=0 postponed=1 needs_review=2" in caplog.text
    assert ledger.calls == ["GET payments"] * 2 + ["POST payments"] * 3


def test_nothing_to_do_is_counted_as_nothing(db):
    assert complete() == "succeeded=0 failed=0"
    assert complete("--concurrency", "4") == "succeeded=0 failed=0"


# Back-off, and its end.


def test_each_failure_doubles_the_pause_up_to_a_limit_with_some_jitter(unanswered):
    for attempt in range(1, 9):
        let_time_pass(UNTIL_IT_IS_DUE)
        complete_due_keys(10)

        row = unanswered()
        doubled = min(PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE)
        assert row.completer_attempts == attempt
        assert doubled <= row.run_after - row.last_run_at <= doubled * 1.2 + A_SECOND
        assert row.last_error == "The ledger answered 500."


def test_after_so_many_attempts_a_person_must_look(unanswered, customer, key, ledger, settings):
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "MAX_ATTEMPTS": 3}
    outcomes = []
    for _ in range(4):
        let_time_pass(UNTIL_IT_IS_DUE)
        outcomes.append(outcomes_of(complete_due_keys(10)))

    assert outcomes == [
        *({Outcome.POSTPONED: 1},) * 2,
        {Outcome.NEEDS_REVIEW: 1},
        {},
    ]
    row = unanswered()
    assert row.is_under_review
    assert row.last_error == "The ledger answered 500."
    assert row.journal[-1]["evidence"] == {"last_code": "outcome_unknown"}
    assert customer.send(key).json()["code"] == "needs_review"


def test_the_attempts_of_a_client_are_its_own(unanswered, customer, key, settings):
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "MAX_ATTEMPTS": 3}

    for _ in range(9):
        assert customer.send(key).json()["code"] == "outcome_unknown"
    let_time_pass(UNTIL_IT_IS_DUE)

    assert outcomes_of(complete_due_keys(10)) == {Outcome.POSTPONED: 1}
    assert not unanswered().is_under_review


def test_the_attempts_of_a_client_put_nothing_off(unanswered, customer, key):
    for _ in range(9):
        customer.send(key)

    row = unanswered()
    assert row.completer_attempts == 0
    assert row.run_after - row.last_run_at <= timedelta(seconds=300)


def test_the_limit_holds_however_much_the_journal_has_dropped(unanswered, settings):
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "MAX_ATTEMPTS": 2}
    for _ in range(2):
        let_time_pass(UNTIL_IT_IS_DUE)
        complete_due_keys(10)
        IdempotencyKey.objects.filter(needs_review_at=None).update(journal=[{"event": "claimed"}])

    assert unanswered().is_under_review


def test_a_parked_attempt_is_not_counted_and_a_clients_is_none_to_take_back(
    unanswered, customer, key
):
    path = unanswered().request_path
    let_time_pass(UNTIL_IT_IS_DUE)
    complete_due_keys(10)

    IdempotencyKey.objects.update(recovery_point="a point of a newer version")
    let_time_pass(UNTIL_IT_IS_DUE)
    complete_due_keys(10)
    assert unanswered().journal[-1]["event"] == "parked"
    assert unanswered().completer_attempts == 1
    assert customer.send(key, to=path).json()["code"] == "parked"

    assert unanswered().completer_attempts == 1
