"""The reaper: finished keys go after their retention, and unfinished ones to the review list."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from idempotency.models import IdempotencyKey, ReaperPosition
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import ORDERED, Death
from idempotency.workers.reaping import reap_finished_keys, send_overdue_keys_to_review

pytestmark = pytest.mark.django_db(transaction=True)

RETENTION = timedelta(hours=72)
A_MINUTE = timedelta(minutes=1)


@pytest.fixture
def unfinished(customer, key, ledger, stored):
    customer.send(key, fails_in="pay")
    return stored


def test_a_finished_key_goes_after_its_retention(customer, key, ledger):
    customer.send(key)

    let_time_pass(RETENTION - A_MINUTE)
    assert reap_finished_keys(10) == 0
    let_time_pass(A_MINUTE)
    assert reap_finished_keys(10) == 1
    assert IdempotencyKey.objects.get().is_tombstone


def test_a_batch_takes_the_oldest_and_no_more_than_its_limit(customer, key, ledger):
    for n in range(3):
        customer.send(f"{key}-{n}")
        let_time_pass(A_MINUTE)
    let_time_pass(RETENTION)

    assert reap_finished_keys(2) == 2
    [left] = [each for each in IdempotencyKey.objects.all() if not each.is_tombstone]
    assert left.idempotency_key == f"{key}-2"


def test_of_two_reapers_one_takes_answers_and_the_other_goes_on(customer, key, ledger, elsewhere):
    for n in range(4):
        customer.send(f"{key}-{n}")
    let_time_pass(RETENTION)
    assert reap_finished_keys(0) == 0

    with transaction.atomic():
        assert reap_finished_keys(2) == 2
        assert elsewhere(reap_finished_keys, 10).result(timeout=5) == 0
    assert reap_finished_keys(10) == 2

    assert all(each.is_tombstone for each in IdempotencyKey.objects.all())


def test_a_batch_that_was_rolled_back_is_taken_again(customer, key, ledger):
    customer.send(key)
    let_time_pass(RETENTION)

    with transaction.atomic():
        assert reap_finished_keys(10) == 1
        transaction.set_rollback(True)

    assert reap_finished_keys(10) == 1


def test_the_reaper_does_not_go_past_a_key_that_may_still_finish(customer, key, ledger, stored):
    """A process that was frozen for days finishes its key, which nobody had taken over."""

    def reap():
        let_time_pass(RETENTION - A_MINUTE)
        customer.send(f"{key}-later")
        let_time_pass(RETENTION)
        return reap_finished_keys(10)

    reaping = ledger.meanwhile(reap)
    assert customer.send(key).status_code == 201

    assert reaping.result() == 0
    assert reap_finished_keys(10) == 2
    assert stored().is_tombstone


def test_keys_of_one_moment_are_all_taken(customer, key, ledger):
    for n in range(5):
        customer.send(f"{key}-{n}")
    IdempotencyKey.objects.update(last_run_at=Now() - RETENTION)

    assert [reap_finished_keys(2) for _ in range(4)] == [2, 2, 1, 0]


def test_a_reaper_that_does_not_know_where_it_was_begins_anew(customer, key, ledger):
    for n in range(2):
        customer.send(f"{key}-{n}")
        let_time_pass(RETENTION)
    assert reap_finished_keys(1) == 1

    ReaperPosition.objects.all().delete()

    assert reap_finished_keys(10) == 1


@pytest.mark.not_in_a_cell("the statistics are the node's")
def test_a_key_keeps_its_place_in_every_index_when_its_answer_goes(customer, key, ledger):
    """So a batch costs the same in a table of any size."""
    for n in range(12):
        customer.send(f"{key}-{n}")
    let_time_pass(RETENTION)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM FULL idempotency_idempotencykey")  # pages as the fill factor says

    with transaction.atomic():
        before = updates_so_far()
        assert reap_finished_keys(100) == 12
        updates, in_place = (now - then for now, then in zip(updates_so_far(), before, strict=True))

    assert (updates, in_place) == (12, 12)


def updates_so_far():
    """Of keys, and how many of them touched no index, as this session has not reported them yet."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables"
            " WHERE relname = 'idempotency_idempotencykey'"
        )
        return cursor.fetchone()


# Unfinished.


def test_an_unfinished_key_past_its_retention_lands_on_the_review_list(unfinished):
    let_time_pass(RETENTION - A_MINUTE)
    assert send_overdue_keys_to_review(10) == 0
    let_time_pass(A_MINUTE)
    assert send_overdue_keys_to_review(10) == 1

    row = unfinished()
    assert row.is_under_review
    assert (row.recovery_point, row.locked_at) == (ORDERED, None)
    assert row.journal[-1]["event"] == "needs_review"
    assert row.journal[-1]["attempt"] == row.attempt


def test_a_key_lands_on_the_review_list_once(unfinished):
    let_time_pass(RETENTION)
    send_overdue_keys_to_review(10)
    before = unfinished().journal

    assert send_overdue_keys_to_review(10) == 0
    assert unfinished().journal == before


def test_a_key_that_somebody_works_on_is_left_to_them(customer, key, stored, ledger):
    def reap():
        IdempotencyKey.objects.update(created_at="2026-01-01T00:00Z")
        return send_overdue_keys_to_review(10)

    reaping = ledger.meanwhile(reap)

    assert customer.send(key).status_code == 201
    assert reaping.result() == 0
    assert stored().is_finished


def test_a_process_that_wakes_up_after_the_review_began_changes_nothing(
    customer, key, stored, ledger
):
    def reap():
        let_time_pass(RETENTION)
        return send_overdue_keys_to_review(10)

    reaping = ledger.meanwhile(reap)

    assert customer.send(key).status_code == 409
    assert reaping.result() == 1
    assert stored().is_under_review
    assert stored().recovery_point == ORDERED


def test_a_request_that_died_long_ago_is_reviewed_too(customer, key, stored, ledger):
    with pytest.raises(Death):
        customer.send(key, dies_in="pay")
    let_time_pass(RETENTION)

    assert send_overdue_keys_to_review(10) == 1
    assert stored().is_under_review


def test_a_review_batch_has_its_limit(customer, key, ledger):
    for n in range(3):
        customer.send(f"{key}-{n}", fails_in="pay")
    let_time_pass(RETENTION)

    assert [send_overdue_keys_to_review(2) for _ in range(3)] == [2, 1, 0]
