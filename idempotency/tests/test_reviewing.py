"""Requests on the review list: a person decides, with a reason, and through the fence."""

import io
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.urls import path

from idempotency import FINISHED, Response
from idempotency.checks.operations import check_operation
from idempotency.exceptions import Indeterminate, LeaseLost, ReviewRefused
from idempotency.models import IdempotencyKey
from idempotency.phases import undo_point
from idempotency.review.decisions import (
    Decision,
    adopt,
    ask_foreign_system,
    close,
    keys_under_review,
    run_again,
    undo,
)
from idempotency.testing.clock import let_time_pass
from idempotency.tests import bookshop
from idempotency.tests import ledger as provider
from idempotency.tests.bookshop import (
    ORDERED,
    WINDOW,
    Death,
    PlaceOrder,
    audit,
    audit_trail,
    key_sent_for,
    orders,
)
from idempotency.tests.ledger import Fault
from idempotency.workers.completing import complete_due_keys
from idempotency.workers.reaping import reap_finished_keys, send_overdue_keys_to_review

pytestmark = pytest.mark.django_db(transaction=True)

A_LEASE = timedelta(seconds=91)
UNDOING = undo_point(ORDERED)
CLOSED = Response.error(410, "We could not deliver it.", code="closed")


class PlaceReviewedOrder(PlaceOrder):
    """An order whose payment a person can adopt, or have taken back."""

    pay = replace(PlaceOrder.pay)
    dies_in_undo = False

    @pay.adopt
    def adopt_payment(self, reference):
        if provider.find_payment(key=self.foreign_key) != reference:
            raise ReviewRefused(f"{reference} does not pay for this order.")
        return reference

    @pay.undo
    def give_back(self):
        payment = provider.find_payment(key=self.foreign_key_at(ORDERED))
        provider.announce(f"{payment} is given back")
        if self.dies_in_undo:
            raise Death
        return payment

    def cancelled(self, account):
        audit(f"order.cancelled: {account}", self.user.pk)
        return Response.error(409, "Your order was cancelled.", code="order_cancelled")

    def record_review(self, action, *, reviewer, reason):
        audit(f"review.{action}: {reviewer}, {reason}", self.user.pk)


class Simple(PlaceOrder):
    """An order of which nothing can be adopted or taken back."""


urlpatterns = [
    *bookshop.urlpatterns,
    path("reviewed", PlaceReviewedOrder.as_view()),
    path("simple", Simple.as_view()),
]


@pytest.fixture
def listed(customer, key, stored, ledger):
    """Put a request on the list: past the window, nothing was found. Returns its row."""

    def put_on_the_list(to="/reviewed"):
        ledger.faults = [Fault.ERROR_BEFORE]
        customer.send(key, to=to)
        let_time_pass(WINDOW)
        assert customer.send(key, to=to).json()["code"] == "needs_review"
        ledger.calls.clear()
        return stored()

    return put_on_the_list


@pytest.fixture
def paid_late(listed, ledger):
    """On the list, and the payment is there after all. Returns the row."""
    row = listed()
    payment = {"id": "payment-7", "key": str(key_sent_for(row)), "amount_cents": 900}
    ledger.payments.append(payment)
    ledger.by_key[payment["key"]] = payment
    return row


def decision(row, reason="The bank says so"):
    return Decision(key_id=row.pk, lease_token=row.lease_token, reviewer="ann", reason=reason)


def named(row):
    """A request as `review list` names it."""
    return f"{row.pk}-{row.lease_token.hex[:8]}"


def review(*arguments):
    """Run `manage.py review …`; return what it says."""
    said = io.StringIO()
    call_command("review", *map(str, arguments), stdout=said)
    return said.getvalue()


# What a person has seen.


@pytest.mark.parametrize("action", ["run_again", "adopt", "undo", "close"])
def test_a_decision_on_a_request_that_has_changed_since_it_was_seen_is_refused(
    paid_late, stored, action
):
    """After a failover another request may have its number, and be the first attempt as well."""
    seen = decision(paid_late)
    IdempotencyKey.objects.filter(pk=paid_late.pk).update(lease_token=uuid.uuid4())

    with pytest.raises(ReviewRefused, match="is not as you saw it"):
        DECISIONS[action](seen)

    assert stored().journal == paid_late.journal
    assert stored().is_under_review


def test_a_decision_by_command_names_the_request_that_was_seen(paid_late, stored):
    seen = named(paid_late)
    with pytest.raises(CommandError, match=f"as `review show {paid_late.pk}` names it"):
        review("undo", paid_late.pk, "--reason", "Too late for it")
    assert f"request         {seen}" in review("show", paid_late.pk)
    IdempotencyKey.objects.filter(pk=paid_late.pk).update(lease_token=uuid.uuid4())

    with pytest.raises(CommandError, match="is not as you saw it"):
        review("undo", seen, "--reason", "Too late for it")
    with pytest.raises(CommandError, match="names no request"):
        review("undo", "the one above", "--reason", "Too late for it")

    assert stored().is_under_review


# The list.


def test_the_list_has_what_the_system_could_not_finish_those_first_that_wait_longest(
    customer, key, ledger
):
    for n in range(2):
        ledger.faults = [Fault.ERROR_BEFORE]
        customer.send(f"{key}-{n}")
    customer.send(f"{key}-finished")
    let_time_pass(WINDOW)
    for n in (1, 0):
        customer.send(f"{key}-{n}")

    assert [row.idempotency_key for row in keys_under_review()] == [f"{key}-1", f"{key}-0"]


def test_the_list_says_where_each_stands_and_why(listed):
    row = listed()

    said = review()

    assert f"{named(row)}  since {row.needs_review_at:%Y-%m-%d %H:%M}  {ORDERED}" in said
    assert "it is too late to send it again" in said
    assert said.endswith("needs_review=1\n")
    assert review("list") == said


def test_one_request_is_shown_with_what_was_tried_and_what_the_foreign_system_says(paid_late):
    said = review("show", paid_late.pk)

    assert paid_late.idempotency_key in said
    assert str(paid_late.foreign_key) in said
    assert "operation       idempotency.PlaceReviewedOrder" in said
    assert '"title": "Emma"' in said
    assert '"looked_up": true' in said
    assert said.count("ledger answered 500") == 1
    assert said.endswith("foreign system  payment-7\n")


def test_a_request_that_is_not_there_is_not_shown(db):
    with pytest.raises(CommandError, match="no request 7"):
        review("show", 7)


# What the foreign system says.


def test_the_foreign_system_is_asked_and_nothing_is_changed(listed, ledger, stored):
    row = listed()

    assert ask_foreign_system(row) == "It knows nothing of it."
    assert ledger.calls == ["GET payments"]
    assert stored().journal == row.journal


def test_a_foreign_system_that_does_not_answer_is_an_answer_too(listed, ledger):
    row = listed()
    ledger.faults = [Fault.ERROR_BEFORE]

    assert ask_foreign_system(row) == "Indeterminate: The ledger answered 500."


def test_there_is_nothing_to_ask_before_anything_was_sent(customer, key, stored, ledger):
    customer.send(key, to="/reviewed", fails_in="place_order")

    assert "nothing to ask" in ask_foreign_system(stored())
    assert ledger.calls == []


def test_there_is_something_to_ask_after_the_payment(customer, key, stored, ledger):
    customer.send(key, to="/reviewed", fails_in="confirm")

    assert ask_foreign_system(stored()) == "payment-1"


def test_a_finished_request_is_asked_about_too_until_its_parameters_are_gone(
    customer, key, stored, ledger
):
    customer.send(key, to="/reviewed")
    assert ask_foreign_system(stored()) == "payment-1"

    let_time_pass(timedelta(days=3))
    reap_finished_keys(10)
    ledger.calls.clear()

    assert "cannot be asked" in ask_foreign_system(stored())
    assert ledger.calls == []


def test_a_request_that_no_code_serves_is_shown_nevertheless(listed, stored):
    row = listed()
    IdempotencyKey.objects.update(operation="shop.Gone")

    assert "'shop.Gone'" in review("show", row.pk)


# Run again.


def test_a_request_that_is_run_again_goes_on_from_where_it_stopped(
    customer, key, stored, paid_late, ledger
):
    answer = run_again(decision(paid_late))

    assert answer.status == 201
    assert stored().recovery_point == FINISHED
    assert ledger.calls == ["GET payments"]
    assert orders()[0]["payment"] == "payment-7"
    assert customer.send(key, to="/reviewed").headers["Idempotent-Replayed"] == "true"


def test_a_request_that_still_can_not_be_finished_is_back_on_the_list(listed, stored, ledger):
    row = listed()

    with pytest.raises(CommandError, match="too late to send it again"):
        review("run-again", named(row), "--reason", "Perhaps now")

    assert stored().is_under_review
    assert ledger.payments == []


def test_a_request_that_is_run_again_in_vain_is_an_ordinary_one_again(listed, stored, ledger):
    row = listed()
    ledger.faults = [Fault.ERROR_BEFORE]

    with pytest.raises(Indeterminate):
        run_again(decision(row))

    assert (stored().is_under_review, stored().locked_at) == (False, None)
    let_time_pass(timedelta(hours=1))
    assert complete_due_keys(10).counts["failed"] == 1
    assert stored().is_under_review


# Adopt.


def test_what_a_person_found_is_adopted_and_the_request_goes_on(paid_late, stored, ledger):
    said = review(
        "adopt", named(paid_late), "payment-7", *("--reason", "Found it"), *("--reviewer", "ann")
    )

    assert said.startswith("finished with 201: ")
    assert stored().recovery_point == FINISHED
    assert orders() == [{"title": "Emma", "payment": "payment-7"}]
    assert ledger.calls == ["GET payments"]


def test_what_does_not_belong_to_the_request_is_not_adopted(paid_late, stored):
    with pytest.raises(ReviewRefused, match="payment-8 does not pay for this order"):
        adopt(decision(paid_late), "payment-8")

    assert stored().is_under_review
    assert (stored().recovery_point, stored().locked_at) == (ORDERED, None)
    assert stored().journal[-1]["evidence"] == {"refused": "payment-8 does not pay for this order."}
    assert stored().last_error == paid_late.last_error
    assert orders() == [{"title": "Emma"}]


def test_what_could_not_be_checked_is_not_adopted(paid_late, stored, ledger):
    ledger.faults = [Fault.ERROR_BEFORE]

    with pytest.raises(CommandError, match="The ledger answered 500"):
        review("adopt", named(paid_late), "payment-7", "--reason", "Found it")

    assert stored().is_under_review


# Undo.


def test_what_was_done_is_taken_back_and_the_request_is_finished_as_cancelled(
    customer, key, stored, paid_late, ledger
):
    assert undo(decision(paid_late)).status == 409

    assert ledger.calls == ["GET payments", "POST announcements"]
    assert audit_trail()[-1] == "order.cancelled: payment-7"
    answer = customer.send(key, to="/reviewed")
    assert (answer.status_code, answer.json()["code"]) == (409, "order_cancelled")
    assert answer.headers["Idempotent-Replayed"] == "true"


def test_what_was_done_before_the_point_that_was_reached_can_be_taken_back(
    customer, key, stored, ledger
):
    customer.send(key, to="/reviewed", fails_in="confirm")
    let_time_pass(timedelta(hours=72))
    send_overdue_keys_to_review(10)

    review("undo", named(stored()), "--reason", "Too late for it")

    assert audit_trail()[-1] == "order.cancelled: payment-1"
    assert stored().response_code == 409


def test_a_request_that_is_to_be_undone_is_never_gone_on_with(
    customer, key, stored, paid_late, ledger
):
    ledger.faults = [Fault.ERROR_BEFORE]
    with pytest.raises(Indeterminate):
        undo(decision(paid_late))

    assert stored().recovery_point == UNDOING
    let_time_pass(timedelta(hours=1))
    assert complete_due_keys(10).counts["succeeded"] == 1
    assert stored().response_code == 409
    assert orders() == [{"title": "Emma"}]


def test_an_undoing_that_is_back_on_the_list_can_only_be_undone_or_closed(
    customer, key, stored, paid_late, ledger, settings
):
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "MAX_ATTEMPTS": 0}
    ledger.faults = [Fault.ERROR_BEFORE]
    with pytest.raises(CommandError):
        review("undo", named(paid_late), "--reason", "Never mind")
    assert (stored().recovery_point, stored().is_under_review) == (UNDOING, True)

    with pytest.raises(ReviewRefused, match="nothing that could be adopted"):
        adopt(decision(stored()), "payment-7")
    assert ask_foreign_system(stored()) == "payment-7"
    assert undo(decision(stored())).status == 409


# Close.


def test_a_request_is_closed_with_the_answer_that_the_person_gives(
    customer, key, stored, paid_late, ledger
):
    review(
        *("close", named(paid_late), "--reason", "Sorted out by phone"),
        *("--status", 410, "--message", "We could not deliver it."),
    )

    answer = customer.send(key, to="/reviewed")
    assert (answer.status_code, answer.json()) == (
        410,
        {"error": "We could not deliver it.", "code": "closed", "retryable": False},
    )
    assert ledger.calls == []
    assert orders() == [{"title": "Emma"}]


def test_a_request_that_no_code_serves_can_be_closed(listed, stored):
    row = listed()
    IdempotencyKey.objects.update(operation="shop.Gone", recovery_point="of another version")

    assert close(decision(row), CLOSED) == CLOSED
    assert stored().response_code == 410


def test_an_operation_with_two_undos_is_named_by_a_check():
    class Twofold(PlaceReviewedOrder):
        refund = replace(PlaceOrder.pay, recovery_point="refunding").undo(lambda operation: None)

    found = {message.id for message in check_operation(Twofold)}

    assert found == {"idempotency.E009"}
    assert list(check_operation(PlaceReviewedOrder)) == []


# Whatever is decided.

DECISIONS = {
    "run_again": run_again,
    "adopt": lambda decision: adopt(decision, "payment-7"),
    "undo": undo,
    "close": lambda decision: close(decision, CLOSED),
}


@pytest.mark.parametrize("action", DECISIONS)
def test_a_decision_is_recorded_with_who_took_it_and_why(paid_late, stored, action):
    DECISIONS[action](decision(paid_late))

    reviewed = next(entry for entry in stored().journal if entry["event"] == "reviewed")
    assert (reviewed["action"], reviewed["reviewer"]) == (action, "ann")
    assert reviewed["reason"] == "The bank says so"
    assert reviewed["attempt"] == paid_late.attempt + 1
    assert f"review.{action}: ann, The bank says so" in audit_trail()


@pytest.mark.parametrize("reason", ["", "  "])
@pytest.mark.parametrize("action", DECISIONS)
def test_a_decision_needs_a_reason(paid_late, stored, action, reason):
    with pytest.raises(ReviewRefused, match="needs a reason"):
        DECISIONS[action](decision(paid_late, reason))

    assert stored().journal == paid_late.journal
    assert stored().is_under_review


@pytest.mark.parametrize("action", DECISIONS)
def test_only_what_is_on_the_list_is_decided_on(customer, key, stored, ledger, action):
    customer.send(key, to="/reviewed", fails_in="pay")

    with pytest.raises(ReviewRefused, match="not on the review list"):
        DECISIONS[action](decision(stored()))
    assert not any(entry["event"] == "reviewed" for entry in stored().journal)


@pytest.mark.parametrize(
    ("action", "why"), [("adopt", "nothing that could be adopted"), ("undo", "nothing to undo")]
)
def test_what_the_operation_can_not_do_is_refused(listed, stored, action, why):
    row = listed(to="/simple")

    with pytest.raises(ReviewRefused, match=why):
        DECISIONS[action](decision(row))
    assert stored().journal == row.journal
    assert stored().is_under_review


@pytest.mark.parametrize("action", ["run_again", "adopt", "undo"])
def test_a_point_that_this_code_does_not_know_is_refused(paid_late, stored, action):
    IdempotencyKey.objects.update(recovery_point="of another version")

    with pytest.raises(ReviewRefused, match="does not know the point 'of another version'"):
        DECISIONS[action](decision(paid_late))
    assert stored().is_under_review


def test_an_audit_record_that_can_not_be_written_takes_the_decision_back(
    paid_late, stored, monkeypatch
):
    def fail(*_, **__):
        raise OSError("no audit trail")

    monkeypatch.setattr(PlaceReviewedOrder, "record_review", fail)

    with pytest.raises(OSError, match="no audit trail"):
        run_again(decision(paid_late))
    assert stored().journal == paid_late.journal
    assert stored().is_under_review


def test_of_two_people_one_decides(paid_late, stored, ledger):
    second = ledger.meanwhile(lambda: close(decision(paid_late), CLOSED))

    assert adopt(decision(paid_late), "payment-7").status == 201
    assert isinstance(second.exception(), ReviewRefused)
    assert stored().response_code == 201


def test_a_decision_whose_lease_ran_out_changes_nothing(paid_late, stored, ledger, customer, key):
    def take_over():
        let_time_pass(A_LEASE)
        return customer.send(key, to="/reviewed")

    takeover = ledger.meanwhile(take_over)

    with pytest.raises(LeaseLost):
        adopt(decision(paid_late), "payment-7")
    assert takeover.result().status_code == 201
    assert stored().attempt == paid_late.attempt + 2


@pytest.mark.parametrize(("action", "status"), [("adopt", 201), ("undo", 409)])
def test_a_decision_that_dies_midway_leaves_a_request_that_is_finished_like_any_other(
    paid_late, stored, ledger, monkeypatch, action, status
):
    def die(*_):
        raise Death

    with monkeypatch.context() as midway:
        midway.setattr(PlaceReviewedOrder, "record_payment", die)
        midway.setattr(PlaceReviewedOrder, "dies_in_undo", True)
        with pytest.raises(Death):
            DECISIONS[action](decision(paid_late))
    assert not stored().is_under_review
    assert stored().locked_at is not None
    assert complete_due_keys(10).total == 0

    let_time_pass(timedelta(hours=1))

    assert complete_due_keys(10).counts["succeeded"] == 1
    assert stored().response_code == status
    assert len(ledger.payments) == 1
