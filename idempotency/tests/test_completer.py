"""The completer finishes what clients left behind, in its time, and never the same key twice."""

from datetime import timedelta

import pytest
from django.db import transaction

from idempotency import FINISHED
from idempotency.claims import take_over_next_due_key
from idempotency.models import IdempotencyKey, StagedJob
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import ORDERED, WINDOW, Death, audit_trail, counted, orders
from idempotency.tests.ledger import Fault
from idempotency.workers.completing import complete_due_keys, operation_for

pytestmark = pytest.mark.django_db(transaction=True)

GRACE = timedelta(seconds=300)
A_MOMENT = timedelta(seconds=5)


@pytest.fixture
def abandon(customer, ledger):
    """Leave a request behind whose process died after the payment."""

    def abandon(key, **changes):
        with pytest.raises(Death):
            customer.send(key, dies_in="pay", **changes)

    return abandon


def test_a_request_whose_process_died_is_completed(customer, key, stored, ledger, abandon):
    abandon(key)
    let_time_pass(GRACE)

    assert counted(complete_due_keys(10)) == (1, 0)

    assert stored().recovery_point == FINISHED
    assert len(orders()) == len(ledger.payments) == StagedJob.objects.count() == 1
    assert audit_trail() == ["order.placed"]
    assert customer.send(key).headers["Idempotent-Replayed"] == "true"


def test_the_completer_runs_the_request_as_its_client_sent_it(
    customer, key, stored, ledger, abandon
):
    abandon(key, title="Persuasion", discount=1.5)
    origin = stored().origin_ip
    let_time_pass(GRACE)

    complete_due_keys(10)

    assert orders()[0]["title"] == "Persuasion"
    assert (stored().origin_ip, stored().user) == (origin, customer.user)
    assert [entry["event"] for entry in stored().journal if entry["attempt"] == 2] == [
        "taken_by_completer",
        "pay",
        "record_payment",
        "confirm",
    ]


def test_the_completer_knows_nothing_of_what_was_not_stored(customer, key, stored, abandon):
    abandon(key)

    operation = operation_for(stored())

    assert operation.params == {**customer.order, "discount": None, "gift": False}
    assert operation.transient == {}


def test_nothing_to_do_is_nothing_done(db):
    assert counted(complete_due_keys(10)) == (0, 0)


def test_the_client_has_the_first_right_to_retry(key, stored, abandon):
    abandon(key)

    let_time_pass(GRACE - A_MOMENT)
    assert complete_due_keys(10).total == 0
    let_time_pass(A_MOMENT)
    assert complete_due_keys(10).total == 1


def test_a_key_that_just_ran_is_left_alone_for_a_while(customer, key, ledger):
    customer.send(key, fails_in="pay")
    let_time_pass(GRACE * 2)
    customer.send(key, fails_in="pay")
    pause = timedelta(seconds=60)

    let_time_pass(pause - A_MOMENT)
    assert complete_due_keys(10).total == 0
    let_time_pass(pause * 0.2 + A_MOMENT)
    assert counted(complete_due_keys(10)) == (1, 0)


def test_a_key_that_somebody_works_on_is_not_touched(customer, key, ledger):
    def complete():
        IdempotencyKey.objects.update(run_after="2026-01-01T00:00Z")
        return complete_due_keys(10)

    completing = ledger.meanwhile(complete)

    assert customer.send(key).status_code == 201
    assert completing.result().total == 0


def test_a_finished_key_is_never_due(customer, key, ledger):
    customer.send(key)
    let_time_pass(timedelta(days=1))

    assert take_over_next_due_key() is None


def test_one_that_fails_does_not_stop_the_rest(customer, key, ledger, abandon):
    keys = [f"{key}-{n}" for n in range(3)]
    for each in keys:
        abandon(each)
        let_time_pass(A_MOMENT)  # the first is due longest
    let_time_pass(GRACE)
    ledger.faults = [Fault.ERROR_BEFORE]

    assert counted(complete_due_keys(10)) == (2, 1)

    unfinished = IdempotencyKey.objects.exclude(recovery_point=FINISHED).get()
    assert unfinished.idempotency_key == keys[0]
    assert unfinished.recovery_point == ORDERED
    assert unfinished.last_error == "The ledger answered 500."


def test_one_that_failed_is_not_tried_again_at_once(key, ledger, abandon):
    abandon(key)
    let_time_pass(GRACE)
    ledger.faults = [Fault.ERROR_BEFORE]

    assert counted(complete_due_keys(10)) == (0, 1)
    assert complete_due_keys(10).total == 0


def test_a_declined_payment_is_a_final_answer(customer, key, ledger):
    ledger.faults = [Fault.ERROR_BEFORE]
    customer.send(key)
    let_time_pass(GRACE)
    ledger.faults = [Fault.DECLINE]

    assert counted(complete_due_keys(10)) == (1, 0)
    assert customer.send(key).status_code == 402


def test_a_batch_takes_no_more_than_its_limit(key, ledger, abandon):
    for n in range(3):
        abandon(f"{key}-{n}")
    let_time_pass(GRACE)

    assert complete_due_keys(2).total == 2
    assert complete_due_keys(2).total == 1


def test_a_completer_passes_over_what_another_is_taking(key, ledger, abandon, elsewhere):
    for n in range(2):
        abandon(f"{key}-{n}")
    let_time_pass(GRACE)

    with transaction.atomic():
        one = take_over_next_due_key()
        other = elsewhere(take_over_next_due_key).result(timeout=5)

    assert {one.key.idempotency_key, other.key.idempotency_key} == {f"{key}-0", f"{key}-1"}


def test_past_the_window_a_key_ends_on_the_review_list(customer, key, stored, ledger):
    ledger.faults = [Fault.ERROR_BEFORE]
    customer.send(key)
    let_time_pass(WINDOW)

    assert counted(complete_due_keys(10)) == (0, 1)
    let_time_pass(WINDOW)
    assert complete_due_keys(10).total == 0

    assert stored().is_under_review
    assert ledger.payments == []


# What the code no longer serves.


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"operation": "shop.Gone"},
            "named 'shop.Gone'.",
        ),
        ({"request_params": {"title": {"colour": "red"}}}, "cannot read a kept 'colour'"),
        ({"recovery_point": "of_another_version"}, "of_another_version"),
    ],
)
def test_a_key_that_this_code_cannot_run_is_parked(key, stored, abandon, change, reason):
    abandon(key)
    let_time_pass(GRACE)
    IdempotencyKey.objects.update(**change)

    assert counted(complete_due_keys(10)) == (0, 1)

    row = stored()
    assert reason in row.last_error
    assert row.locked_at is None
    assert not row.is_under_review
    assert row.recovery_point == change.get("recovery_point", ORDERED)
    assert row.run_after > row.last_run_at + timedelta(seconds=290)
