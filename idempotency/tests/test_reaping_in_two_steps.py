"""The reaper takes a finished key away in two steps, and puts an unfinished one before a person.

First the parameters and the answer go, and a tombstone tells a very late retry that its request was
done; after the second horizon the row goes.
"""

import io
import uuid
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import transaction
from django.db.models import ProtectedError
from django.db.models.signals import pre_delete
from django.urls import path

from idempotency import FINISHED, Response, failures
from idempotency.models import IdempotencyKey, Rollup, StagedJob
from idempotency.review.decisions import Decision, close
from idempotency.testing.clock import let_time_pass
from idempotency.tests import bookshop
from idempotency.tests.bookshop import ORDERED, Mishap, PlaceOrder, audit, audit_trail, orders
from idempotency.tests.ledger import Fault
from idempotency.workers.completing import complete_due_keys
from idempotency.workers.overdue import Overdue
from idempotency.workers.reaping import (
    reap,
    reap_finished_keys,
    remove_tombstones,
    send_overdue_keys_to_review,
)

pytestmark = pytest.mark.django_db(transaction=True)

RETENTION = timedelta(hours=72)
HORIZON = timedelta(days=30)
A_MINUTE = timedelta(minutes=1)


class PlaceTidyOrder(PlaceOrder):
    """An order that knows how to clean up after itself."""

    def clean_up(self):
        audit(f"order.dropped {self.params['title']}", self.user.pk)
        if self.params["discount"]:
            raise Mishap("cannot clean up")


urlpatterns = [*bookshop.urlpatterns, path("tidy", PlaceTidyOrder.as_view())]


@pytest.fixture
def tombstone(customer, key, ledger, stored):
    assert customer.send(key).status_code == 201
    let_time_pass(RETENTION)
    assert reap_finished_keys(10) == 1
    return stored()


@pytest.fixture
def unfinished(customer, key, ledger, stored):
    """A request that its provider never answered, and that is past its retention."""

    def leave(**changes):
        ledger.faults = [Fault.ERROR_BEFORE]
        customer.send(key, to="/tidy", **changes)
        let_time_pass(RETENTION)
        return stored()

    return leave


# The first step.


def test_after_the_retention_the_parameters_and_the_answer_go(customer, key, stored, ledger):
    customer.send(key)

    let_time_pass(RETENTION - A_MINUTE)
    assert reap_finished_keys(10) == 0
    assert customer.send(key).headers["Idempotent-Replayed"] == "true"
    let_time_pass(A_MINUTE)
    assert reap_finished_keys(10) == 1

    row = stored()
    assert row.is_tombstone
    assert (row.request_params, row.origin_ip, row.journal) == ({}, None, [])
    assert (row.request_path, row.path_kwargs) == ("", {})
    assert (row.response_body, row.response_content_type) == (None, None)


def test_a_tombstone_keeps_whose_it_was_and_how_it_ended(tombstone, customer, key):
    assert (tombstone.user, tombstone.idempotency_key) == (customer.user, key)
    assert (tombstone.recovery_point, tombstone.response_code) == (FINISHED, 201)
    assert len(tombstone.fingerprint) == 64


def test_a_very_late_retry_is_told_that_its_request_was_done(tombstone, customer, key, ledger):
    calls = list(ledger.calls)

    answer = customer.send(key)

    assert (answer.status_code, answer.json()["code"]) == (410, "key_expired")
    assert answer.json()["retryable"] is False
    assert "finished with status 201" in answer.json()["error"]
    assert ledger.calls == calls
    assert len(orders()) == 1


def test_another_request_under_a_key_that_expired_is_still_refused(tombstone, customer, key):
    answer = customer.send(key, title="Persuasion")

    assert (answer.status_code, answer.json()["code"]) == (409, "parameters_mismatch")


def test_a_tombstone_is_reaped_once(tombstone):
    assert reap_finished_keys(10) == 0


def test_what_the_request_made_stays(tombstone):
    assert len(orders()) == StagedJob.objects.count() == 1


# The second step.


def test_after_the_second_horizon_the_row_goes(tombstone):
    let_time_pass(HORIZON - RETENTION - A_MINUTE)
    assert remove_tombstones(10) == 0
    let_time_pass(A_MINUTE)
    assert remove_tombstones(10) == 1

    assert not IdempotencyKey.objects.exists()
    assert len(orders()) == 1


def test_a_row_with_its_answer_is_never_removed(customer, key, stored, ledger):
    customer.send(key)
    let_time_pass(HORIZON * 2)

    assert remove_tombstones(10) == 0
    assert stored().response_body


def test_both_horizons_are_settings(customer, key, ledger, settings):
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "RETENTION": timedelta(hours=1),
        "TOMBSTONE_RETENTION": timedelta(hours=2),
    }
    customer.send(key)

    let_time_pass(timedelta(hours=1))
    assert reap(10).logged == "reaped=1 removed=0 needs_review=0"
    let_time_pass(timedelta(hours=1))
    assert reap(10).logged == "reaped=0 removed=1 needs_review=0"


def test_what_a_person_finished_late_is_kept_as_long_from_then_on(
    unfinished, customer, key, stored
):
    unfinished()
    let_time_pass(HORIZON)
    assert send_overdue_keys_to_review(10) == 1
    row = stored()
    decision = Decision(
        key_id=row.pk, lease_token=row.lease_token, reviewer="Ada", reason="Ticket 12"
    )
    close(decision, Response.error(409, "We have settled it by phone.", code="closed"))

    assert reap(10).logged == "reaped=0 removed=0 needs_review=0"
    assert customer.send(key, to="/tidy").json()["code"] == "closed"
    let_time_pass(RETENTION)
    assert reap(10).logged == "reaped=1 removed=0 needs_review=0"
    assert customer.send(key, to="/tidy").status_code == 410
    let_time_pass(HORIZON)
    assert reap(10).logged == "reaped=0 removed=1 needs_review=0"


# Many reapers, many keys.


def test_two_reapers_remove_different_tombstones_and_the_oldest_first(
    customer, key, ledger, elsewhere
):
    for n in range(5):
        customer.send(f"{key}-{n}")
        let_time_pass(A_MINUTE)
    let_time_pass(HORIZON)
    reap_finished_keys(10)

    def left():
        rows = IdempotencyKey.objects.order_by("created_at")
        return [row.idempotency_key[-1] for row in rows]

    with transaction.atomic():
        assert remove_tombstones(2) == 2
        assert left() == ["2", "3", "4"]
        assert elsewhere(remove_tombstones, 2).result(timeout=5) == 2
    assert left() == ["4"]


def test_the_command_says_what_it_did(customer, key, ledger):
    customer.send(key)
    let_time_pass(RETENTION)
    said = io.StringIO()

    call_command("reaper", "--once", stdout=said)

    assert said.getvalue() == "reaped=1\n"


# Unfinished requests.


def test_an_unfinished_request_past_its_retention_is_cleaned_up_and_needs_review(
    unfinished, stored
):
    unfinished()

    assert reap(10).logged == "reaped=0 removed=0 needs_review=1"

    row = stored()
    assert row.is_under_review
    assert (row.recovery_point, row.locked_at) == (ORDERED, None)
    assert audit_trail()[-1] == "order.dropped Emma"
    taken, cleaned, reviewed = row.journal[-3:]
    assert [taken["event"], cleaned["event"]] == ["taken_by_reaper", "clean_up"]
    assert reviewed["evidence"] == {"unfinished_since": row.created_at.isoformat()}


def test_a_clean_up_that_fails_is_told_to_the_person_and_leaves_nothing_half_done(
    unfinished, stored
):
    unfinished(discount=1.5)

    assert send_overdue_keys_to_review(10) == 1

    assert stored().is_under_review
    said = stored().journal[-1]["evidence"]["clean_up_error"]
    assert said.startswith(f"{Mishap.__module__}.Mishap at {__name__}:")
    assert audit_trail() == ["order.placed"]


def test_a_request_that_no_code_serves_is_put_before_a_person_all_the_same(unfinished, stored):
    unfinished()
    IdempotencyKey.objects.update(operation="shop.Gone")

    assert send_overdue_keys_to_review(10) == 1
    assert "shop.Gone" in stored().journal[-1]["evidence"]["clean_up_error"]


def test_a_request_is_cleaned_up_once(unfinished):
    unfinished()

    assert [send_overdue_keys_to_review(10) for _ in range(2)] == [1, 0]
    assert audit_trail().count("order.dropped Emma") == 1


def test_a_clean_up_whose_lease_was_lost_changes_nothing(unfinished, stored, monkeypatch):
    row = unfinished()

    def lose_the_lease(operation):
        audit("order.dropped too late", operation.user.pk)
        IdempotencyKey.objects.update(lease_token=uuid.uuid4())

    monkeypatch.setattr(PlaceTidyOrder, "clean_up", lose_the_lease)

    send_overdue_keys_to_review(10)

    assert audit_trail() == ["order.placed"]
    assert stored().attempt == row.attempt + 1


def test_nothing_unfinished_is_ever_removed(unfinished, stored):
    unfinished()
    let_time_pass(HORIZON * 2)

    for _ in range(2):
        reap(10)
    assert complete_due_keys(10).total == 0
    assert (stored().recovery_point, stored().is_under_review) == (ORDERED, True)


# What stands in the way of one is not in the way of the others.


@pytest.fixture
def protected():
    """Keys that a row of an adopter's protects, as `on_delete=PROTECT` or a constraint does."""
    keys = set()

    def protect(instance, **_):
        if instance.pk in keys:
            raise ProtectedError("protected", {instance})

    pre_delete.connect(protect, sender=IdempotencyKey)
    yield keys
    pre_delete.disconnect(protect, sender=IdempotencyKey)


def test_a_tombstone_that_something_protects_stays_and_the_others_go(
    customer, key, ledger, protected, caplog
):
    for n in range(5):
        customer.send(f"{key}-{n}")
        let_time_pass(A_MINUTE)
    let_time_pass(HORIZON)
    reap_finished_keys(10)
    kept = IdempotencyKey.objects.get(idempotency_key=f"{key}-1")
    protected.add(kept.pk)

    assert remove_tombstones(10) == 4

    assert IdempotencyKey.objects.get() == kept
    assert (
        f"count=1 for example id={kept.pk} error=django.db.models.deletion.ProtectedError"
        in caplog.text
    )


def test_a_whole_batch_of_protected_tombstones_hides_none_behind_it(
    customer, key, ledger, protected
):
    for n in range(5):
        customer.send(f"{key}-{n}")
    let_time_pass(HORIZON)
    reap_finished_keys(10)
    IdempotencyKey.objects.update(last_run_at=IdempotencyKey.objects.first().last_run_at)
    protected.update(IdempotencyKey.objects.order_by("pk").values_list("pk", flat=True)[:4])

    assert remove_tombstones(2) == 1
    assert IdempotencyKey.objects.count() == 4


def test_a_step_that_always_fails_keeps_no_other_from_its_own(unfinished, stored, monkeypatch):
    unfinished()

    def fail(*_):
        raise Mishap("in this step")

    monkeypatch.setattr("idempotency.workers.reaping.remove_tombstones", fail)
    monkeypatch.setattr("idempotency.workers.reaping.reap_finished_keys", fail)
    overdue = Overdue()
    overdue.answers = overdue.tombstones = True
    monkeypatch.setattr(Overdue, "look", lambda self: setattr(self, "requests", True))

    assert reap(10, overdue).logged == "reaped=0 removed=0 needs_review=1"
    assert stored().is_under_review


def test_one_request_that_cannot_be_sent_to_review_keeps_no_other_from_it(
    customer, key, ledger, monkeypatch
):
    for n in range(3):
        customer.send(f"{key}-{n}", fails_in="pay")
    let_time_pass(RETENTION)
    real = failures.let_go

    def let_go(row, *rest):
        if row.idempotency_key.endswith("-1"):
            raise Mishap("cannot be recorded")
        return real(row, *rest)

    monkeypatch.setattr("idempotency.failures.let_go", let_go)

    assert send_overdue_keys_to_review(10) == 2
    left = IdempotencyKey.objects.get(needs_review_at=None)
    assert left.idempotency_key == f"{key}-1"
    monkeypatch.undo()
    let_time_pass(A_MINUTE * 2)
    assert send_overdue_keys_to_review(10) == 1


def test_journals_are_rolled_up_before_they_are_emptied(customer, ledger):
    ledger.faults = [Fault.DECLINE]
    for number in range(3):
        customer.send(f"a-key-long-enough-{number:04}")
    let_time_pass(RETENTION)
    began_at = IdempotencyKey.objects.earliest("created_at").created_at

    assert reap_finished_keys(2) == 2
    assert reap_finished_keys(10) == 1

    rolled = Rollup.objects.filter(what="finished").order_by("outcome")
    assert [(row.outcome, row.count, row.span) for row in rolled] == [
        ("201", 2, "hour"),
        ("402", 1, "hour"),
    ]
    for row in rolled:
        assert sum(row.buckets) == row.count
        assert row.at <= began_at < row.at + timedelta(hours=1)


def test_a_batch_that_is_rolled_back_is_not_rolled_up(customer, key, ledger):
    customer.send(key)
    let_time_pass(RETENTION)
    with transaction.atomic():
        assert reap_finished_keys(10) == 1
        transaction.set_rollback(True)

    assert not Rollup.objects.exists()
    assert reap_finished_keys(10) == 1
    assert Rollup.objects.get().count == 1
