"""Taking a key: one conditional write decides who works on it, by the database's clock."""

from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from idempotency import FINISHED
from idempotency.claims import (
    find_key,
    insert_key,
    take_over_key,
    take_over_next_due_key,
)
from idempotency.models import IdempotencyKey
from idempotency.testing.clock import let_time_pass
from idempotency.tests import bookshop
from idempotency.tests.bookshop import ORDERED, Death, audit_trail, orders

pytestmark = pytest.mark.django_db(transaction=True)

LOCK_TIMEOUT = timedelta(seconds=90)
A_MOMENT = timedelta(seconds=5)


@pytest.fixture
def abandoned(customer, key, ledger, stored):
    """A key whose process died in the middle of its payment: ordered, leased, paid for."""
    with pytest.raises(Death):
        customer.send(key, dies_in="pay")
    return stored


@pytest.fixture
def let_go(customer, key, ledger, stored):
    """A key whose attempt failed in the middle of its payment: ordered, and free to be taken."""
    customer.send(key, fails_in="pay")
    return stored


def test_a_retry_goes_on_where_the_last_attempt_stopped(customer, key, let_go, ledger):
    assert let_go().recovery_point == ORDERED

    answer = customer.send(key)

    assert answer.status_code == 201
    assert answer.headers["Idempotent-Replayed"] == "false"
    assert let_go().attempt == 2
    assert audit_trail() == ["order.placed"]
    assert orders() == [{"title": "Emma", "payment": "payment-1"}]
    assert len(ledger.payments) == 1


def test_a_lease_keeps_others_away_until_it_ends(customer, key, abandoned):
    before = abandoned().journal

    let_time_pass(LOCK_TIMEOUT - A_MOMENT)
    assert customer.send(key).status_code == 409
    assert abandoned().journal == before

    let_time_pass(A_MOMENT)
    assert customer.send(key).status_code == 201


def test_a_claim_raises_the_fencing_token_and_says_so(let_go):
    claim = take_over_key(let_go().pk)

    row = let_go()
    assert claim.lease.attempt == claim.key.attempt == row.attempt == 2
    assert row.locked_at is not None
    assert abs(row.last_run_at - row.locked_at) < A_MOMENT
    assert (
        row.journal[-1].items()
        >= {
            "event": "retried",
            "attempt": 2,
            "recovery_point": ORDERED,
        }.items()
    )


def test_a_claim_is_one_statement(let_go):
    with CaptureQueriesContext(connection) as statements:
        take_over_key(let_go().pk)

    [_, claim] = [statement["sql"].split()[0] for statement in statements]
    assert claim == "UPDATE"


def test_of_many_retries_at_once_one_gets_the_key(let_go, elsewhere):
    together, number = Barrier(8), let_go().pk

    def claim():
        together.wait()
        return take_over_key(number)

    claims = [future.result() for future in [elsewhere(claim) for _ in range(8)]]

    assert len([claim for claim in claims if claim]) == 1
    assert let_go().attempt == 2


def test_a_claim_that_waited_for_another_finds_the_key_taken(let_go, elsewhere):
    number = let_go().pk
    with transaction.atomic():
        assert take_over_key(number)
        second = elsewhere(take_over_key, number)

    assert second.result() is None
    assert let_go().attempt == 2


@pytest.mark.parametrize("how", ["finished", "needs review"])
def test_a_key_that_is_finished_or_under_review_cannot_be_claimed(customer, key, let_go, how):
    if how == "finished":
        customer.send(key)
    else:
        IdempotencyKey.objects.update(needs_review_at="2026-01-01T00:00Z")
    let_time_pass(timedelta(days=1))

    assert take_over_key(let_go().pk) is None
    assert take_over_next_due_key() is None


def test_a_claim_leaves_the_journal_its_first_entry_and_its_latest(let_go):
    entries = [{"event": "claimed"}, *({"event": str(n)} for n in range(199))]
    IdempotencyKey.objects.update(journal=entries)

    take_over_key(let_go().pk)

    events = [entry["event"] for entry in let_go().journal]
    assert len(events) == 200
    assert (events[:2], events[-2:]) == (["claimed", "1"], ["198", "retried"])


def test_a_client_that_retries_pushes_the_completer_back(let_go):
    IdempotencyKey.objects.update(run_after="2026-01-01T00:00Z")

    claim = take_over_key(let_go().pk)

    assert let_go().run_after - claim.key.last_run_at >= timedelta(seconds=60)
    assert claim.key.recovery_point != FINISHED


# A fresh key.


def test_a_key_that_is_known_is_not_inserted_again(customer, key, stored, ledger):
    customer.send(key)

    with transaction.atomic():
        assert (
            insert_key(bookshop.new_key(stored().user_id, key), begins_foreign_phase=True) is None
        )


def test_a_fresh_claim_has_the_key_as_it_is_written(customer, key, stored, ledger):
    customer.send(key)
    new_key = bookshop.new_key(
        stored().user_id,
        f"another-{key}",
        request_params={"title": "Emma"},
        fingerprint="of no consequence",
        origin_ip="127.0.0.1",
    )

    with transaction.atomic():
        claim = insert_key(new_key, begins_foreign_phase=True)
    read = find_key(new_key.user_id, new_key.idempotency_key)

    assert claim is not None
    assert read is not None
    assert columns(claim.key) == columns(read.key)


def columns(key: IdempotencyKey) -> dict[str, object]:
    return {name: value for name, value in vars(key).items() if name != "_state"}
