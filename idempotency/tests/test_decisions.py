"""The four decisions on a request of the review list, taken by code, by command, on a page: with a
reason, through the fence, and recorded where nothing takes it away.
"""

import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError

from idempotency.database import reading_where_it_writes
from idempotency.exceptions import Indeterminate, LeaseLost, ReviewRefused
from idempotency.models import IdempotencyKey, ReviewDecision
from idempotency.phases import undo_point
from idempotency.review.decisions import adopt, ask_foreign_system, close, run_again, undo
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import ORDERED, Death, audit_trail, orders
from idempotency.tests.ledger import Fault
from idempotency.tests.reviewing import (
    CLOSED,
    DECIDE,
    REASON,
    REVIEWER,
    WAYS,
    PlaceReviewedOrder,
    decision,
    named,
    review,
    urlpatterns,  # noqa: F401
)
from idempotency.workers.completing import complete_due_keys
from idempotency.workers.reaping import reap, send_overdue_keys_to_review

pytestmark = pytest.mark.django_db(transaction=True)

A_LEASE = timedelta(seconds=91)
A_MONTH_AND_MORE = timedelta(days=40)
UNDOING = undo_point(ORDERED)

UNPAID, PAID = {"title": "Emma"}, {"title": "Emma", "payment": "payment-7"}
LOOKED, GAVE_BACK = ["GET payments"], ["GET payments", "POST announcements"]

DELIVERED = {"says": "Grüße! 📚"}
CANCELLED = {"error": "Your order was cancelled.", "code": "order_cancelled", "retryable": False}
NOT_DELIVERED = {"error": "We could not deliver it.", "code": "closed", "retryable": False}

EFFECTS = {
    "run-again": (201, DELIVERED, LOOKED, PAID),
    "adopt": (201, DELIVERED, LOOKED, PAID),
    "undo": (409, CANCELLED, GAVE_BACK, UNPAID),
    "close": (410, NOT_DELIVERED, [], UNPAID),
}
"""Of each decision on an order that was paid late: the answer, the ledger's calls, the order."""

each_decision = pytest.mark.parametrize("slug", DECIDE)
each_way = pytest.mark.parametrize("decide", WAYS)


@pytest.fixture(autouse=True)
def sessions_are_in_cookies(settings):
    """An order is a row of Django's sessions, and a login on a page would be one more."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"


def assert_not_decided(row):
    """Nothing is left of a decision that was refused."""
    now = IdempotencyKey.objects.get(pk=row.pk)
    assert (now.journal, now.is_under_review) == (row.journal, row.is_under_review)
    assert not ReviewDecision.objects.exists()


# Every decision, however it is taken.


@each_way
@each_decision
def test_a_decision_does_what_it_says(customer, key, paid_late, ledger, decide, slug):
    status, told, calls, order = EFFECTS[slug]

    assert re.search(f"finished,? with {status}", decide(paid_late, slug))

    assert (ledger.calls, orders()) == (calls, [order])
    assert ("order.cancelled: payment-7" in audit_trail()) == (slug == "undo")
    answer = customer.send(key, to="/reviewed")
    assert answer.status_code == status
    assert answer.json().items() >= told.items()
    assert answer.headers["Idempotent-Replayed"] == "true"


class FromReplica:
    """A project's own router, whose replica cannot be asked."""

    def db_for_read(self, model, **_):
        return "replica"

    def db_for_write(self, model, **_):
        return "default"


@each_decision
def test_a_decision_is_taken_on_the_request_as_it_is_and_not_as_a_replica_has_it(
    paid_late, slug, settings
):
    settings.DATABASE_ROUTERS = ["idempotency.database.ReadsWhereItWrites", FromReplica()]

    DECIDE[slug](decision(paid_late))

    with reading_where_it_writes():
        assert IdempotencyKey.objects.get(pk=paid_late.pk).is_finished


@each_way
@each_decision
def test_a_decision_is_recorded_with_who_took_it_and_why(paid_late, stored, decide, slug, caplog):
    action = slug.replace("-", "_")

    with caplog.at_level("INFO"):
        decide(paid_late, slug)

    reviewed = next(entry for entry in stored().journal if entry["event"] == "reviewed")
    assert [reviewed[name] for name in ("action", "reviewer", "reason")] == [
        *(action, REVIEWER, REASON)
    ]
    assert reviewed["attempt"] == paid_late.attempt + 1
    assert f"review.{action}: {REVIEWER}, {REASON}" in audit_trail()
    kept = ReviewDecision.objects.get()
    assert (kept.action, kept.reviewer, kept.reason) == (action, REVIEWER, REASON)
    assert (kept.idempotency_key_id, kept.foreign_key) == (paid_late.pk, paid_late.foreign_key)
    assert f"decided: id={paid_late.pk} action={action}" in caplog.text
    assert REVIEWER not in caplog.text


@each_way
@each_decision
@pytest.mark.parametrize("reason", ["", "  "])
def test_a_decision_needs_a_reason(paid_late, decide, slug, reason):
    said = decide(paid_late, slug, reason)

    assert re.search("needs a reason|This field is required", said)
    assert_not_decided(paid_late)


@each_way
@each_decision
def test_a_decision_on_a_request_that_has_changed_since_it_was_seen_is_refused(
    paid_late, decide, slug
):
    """After a failover another request may have its number, and be the first attempt as well."""
    IdempotencyKey.objects.filter(pk=paid_late.pk).update(lease_token=uuid.uuid4())

    assert "is not as you saw it" in decide(paid_late, slug)
    assert_not_decided(paid_late)


@each_way
@each_decision
def test_only_what_is_on_the_list_is_decided_on(customer, key, stored, ledger, decide, slug):
    customer.send(key, to="/reviewed", fails_in="pay")
    row = stored()

    assert "not on the review list" in decide(row, slug)
    assert_not_decided(row)


@each_decision
def test_a_decision_names_who_took_it(paid_late, slug):
    with pytest.raises(ReviewRefused, match="names who took it"):
        DECIDE[slug](decision(paid_late, reviewer=" "))

    assert_not_decided(paid_late)


def test_a_decision_by_command_names_the_request_that_was_seen(paid_late, stored):
    with pytest.raises(CommandError, match=f"as `review show {paid_late.pk}` names it"):
        review("undo", paid_late.pk, "--reason", "Too late for it")
    with pytest.raises(CommandError, match="names no request"):
        review("undo", "the one above", "--reason", "Too late for it")

    assert f"request         {named(paid_late)}" in review("show", paid_late.pk)
    assert stored().is_under_review


# What can not be decided.


@pytest.mark.parametrize(
    ("slug", "why"), [("adopt", "nothing that could be adopted"), ("undo", "nothing to undo")]
)
def test_what_the_operation_can_not_do_is_refused(listed, slug, why):
    row = listed(to="/simple")

    with pytest.raises(ReviewRefused, match=why):
        DECIDE[slug](decision(row))
    assert_not_decided(row)


@pytest.mark.parametrize("slug", ["run-again", "adopt", "undo"])
def test_a_point_that_this_code_does_not_know_is_refused(paid_late, slug):
    IdempotencyKey.objects.update(recovery_point="of another version")

    with pytest.raises(
        ReviewRefused, match="does not handle the recovery point 'of another version'"
    ):
        DECIDE[slug](decision(paid_late))
    assert_not_decided(paid_late)


# What comes in between.


def test_an_audit_record_that_can_not_be_written_takes_the_decision_back(paid_late, monkeypatch):
    def fail(*_, **__):
        raise OSError("no audit trail")

    monkeypatch.setattr(PlaceReviewedOrder, "record_review", fail)

    with pytest.raises(OSError, match="no audit trail"):
        run_again(decision(paid_late))
    assert_not_decided(paid_late)


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


@pytest.mark.parametrize(("slug", "status"), [("adopt", 201), ("undo", 409)])
def test_a_decision_that_dies_midway_leaves_a_request_that_is_finished_like_any_other(
    paid_late, stored, ledger, monkeypatch, slug, status
):
    def die(*_):
        raise Death

    with monkeypatch.context() as midway:
        midway.setattr(PlaceReviewedOrder, "record_payment", die)
        midway.setattr(PlaceReviewedOrder, "dies_in_undo", True)
        with pytest.raises(Death):
            DECIDE[slug](decision(paid_late))
    assert not stored().is_under_review
    assert stored().locked_at is not None
    assert complete_due_keys(10).total == 0

    let_time_pass(timedelta(hours=1))

    assert complete_due_keys(10).counts["succeeded"] == 1
    assert stored().response_code == status
    assert len(ledger.payments) == 1


# Run again.


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


def test_what_does_not_belong_to_the_request_is_not_adopted(paid_late, stored):
    with pytest.raises(ReviewRefused, match="payment-8 does not pay for this order"):
        adopt(decision(paid_late), "payment-8")

    assert stored().is_under_review
    assert (stored().recovery_point, stored().locked_at) == (ORDERED, None)
    assert stored().journal[-1]["evidence"] == {"refused": "payment-8 does not pay for this order."}
    assert stored().last_error == paid_late.last_error
    assert orders() == [UNPAID]


def test_what_could_not_be_checked_is_not_adopted(paid_late, stored, ledger):
    ledger.faults = [Fault.ERROR_BEFORE]

    with pytest.raises(CommandError, match="The ledger answered 500"):
        review("adopt", named(paid_late), "payment-7", "--reason", "Found it")

    assert stored().is_under_review


# Undo.


def test_what_was_done_before_the_point_that_was_reached_can_be_taken_back(
    customer, key, stored, ledger
):
    customer.send(key, to="/reviewed", fails_in="confirm")
    let_time_pass(timedelta(hours=72))
    send_overdue_keys_to_review(10)

    review("undo", named(stored()), "--reason", "Too late for it")

    assert audit_trail()[-1] == "order.cancelled: payment-1"
    assert stored().response_code == 409


@each_way
def test_a_request_that_is_to_be_undone_is_never_gone_on_with(paid_late, stored, ledger, decide):
    ledger.faults = [Fault.ERROR_BEFORE]
    assert "The ledger answered 500" in decide(paid_late, "undo")
    assert (stored().recovery_point, stored().is_under_review) == (UNDOING, False)

    let_time_pass(timedelta(hours=1))

    assert complete_due_keys(10).counts["succeeded"] == 1
    assert stored().response_code == 409
    assert orders() == [UNPAID]


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


@pytest.mark.parametrize(
    "unknown",
    [
        {"operation": "shop.Gone", "recovery_point": "of another version"},
        {"request_path": "/gone"},
        {"request_params": {"of": "another version"}},
    ],
)
def test_a_request_that_the_code_does_not_know_any_more_can_be_closed(paid_late, stored, unknown):
    IdempotencyKey.objects.update(**unknown)

    assert close(decision(paid_late), CLOSED) == CLOSED
    assert stored().response_code == 410
    assert ReviewDecision.objects.get().action == "close"


# What is kept of a decision.


def test_a_decision_outlives_the_request(paid_late):
    close(decision(paid_late), CLOSED)
    for _ in range(2):
        let_time_pass(A_MONTH_AND_MORE)
        reap(10)

    assert not IdempotencyKey.objects.exists()
    assert ReviewDecision.objects.get().reason == REASON


def test_each_decision_on_a_request_is_kept_whatever_came_of_it(paid_late, ledger, stored):
    ledger.faults = [Fault.ERROR_BEFORE]
    with pytest.raises(Indeterminate):
        run_again(decision(paid_late))
    IdempotencyKey.objects.update(needs_review_at="2026-01-01T00:00Z", locked_at=None)
    close(decision(stored()), CLOSED)

    kept = ReviewDecision.objects.order_by("id").values_list("action", flat=True)
    assert list(kept) == ["run_again", "close"]


def test_the_words_of_a_decision_are_made_storable(paid_late):
    close(decision(paid_late, reason="half \ud83d of a pair \x00"), CLOSED)

    assert ReviewDecision.objects.get().reason == r"half \ud83d of a pair \0"


def test_a_decision_can_be_read_in_the_admin_and_not_changed(paid_late, client):
    close(decision(paid_late), CLOSED)
    kept = ReviewDecision.objects.get()
    client.force_login(get_user_model().objects.create_superuser("root@example.com"))
    pages = "/admin/idempotency/reviewdecision/"

    for term in ("", str(paid_late.pk), str(paid_late.foreign_key), REVIEWER):
        assert REASON in client.get(pages, {"q": term}).content.decode()
    assert REASON not in client.get(pages, {"q": "nobody"}).content.decode()
    assert REVIEWER in client.get(f"{pages}{kept.pk}/change/").content.decode()
    assert client.post(f"{pages}{kept.pk}/change/", {"reason": "?"}).status_code == 403
    assert client.post(f"{pages}{kept.pk}/delete/", {"post": "yes"}).status_code == 403
