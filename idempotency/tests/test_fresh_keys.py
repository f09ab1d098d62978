"""A key that nobody has used: it is claimed, every phase runs, and each commit has its place."""

from collections import Counter
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from idempotency import FINISHED, STARTED
from idempotency.models import IdempotencyKey, StagedJob
from idempotency.tests.bookshop import ORDERED, PAID, Death, audit_trail, orders
from idempotency.tests.conftest import Customer

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_fresh_key_runs_every_phase(customer, key, stored, ledger):
    answer = customer.send(key)

    assert answer.status_code == 201
    assert answer.json() == {"order": stored().foreign_key.hex, "says": "Grüße! 📚"}
    assert answer.headers["Idempotent-Replayed"] == "false"
    assert orders() == [{"title": "Emma", "payment": "payment-1"}]
    assert audit_trail() == ["order.placed"]
    assert [payment["amount_cents"] for payment in ledger.payments] == [900]
    assert StagedJob.objects.get().job_args["kwargs"]["title"] == "Emma"


def test_a_finished_key_holds_its_answer_and_no_lease(customer, key, stored, ledger):
    answer = customer.send(key)

    row = stored()
    assert row.recovery_point == FINISHED
    assert row.response_code == 201
    assert bytes(row.response_body) == answer.content
    assert row.response_content_type == "application/json"
    assert row.locked_at is None
    assert row.attempt == 1
    assert row.last_error == ""


def test_a_key_says_what_was_asked_and_from_where(customer, key, stored, ledger):
    customer.send(key, fails_in="never")

    row = stored()
    assert (row.user, row.request_method, row.request_path) == (customer.user, "POST", "/orders")
    assert row.request_params == {
        "title": "Emma",
        "price_cents": 900,
        "discount": None,
        "gift": False,
    }
    assert row.origin_ip == "127.0.0.1"
    assert row.run_after - row.created_at == timedelta(seconds=300)


def test_the_journal_tells_what_happened(customer, key, stored, ledger):
    customer.send(key)

    journal = stored().journal
    assert [(entry["event"], entry.get("recovery_point")) for entry in journal] == [
        ("claimed", None),
        ("place_order", ORDERED),
        ("pay", ORDERED),
        ("record_payment", PAID),
        ("confirm", FINISHED),
    ]
    assert all(entry["attempt"] == 1 and entry["at"] for entry in journal)
    assert all(entry["ms"] >= 0 for entry in journal[1:])
    assert journal[-1]["jobs"] == [str(StagedJob.objects.get().job_id)]


def test_a_serializable_operation_says_so_in_each_of_its_transactions(customer, key, ledger):
    costs = []
    for path in ("/orders", "/serializable/orders"):
        with CaptureQueriesContext(connection) as statements:
            customer.send(f"{key}-to{path}", to=path)
        costs.append(Counter(statement["sql"].split()[0] for statement in statements))

    plain, serializable = costs
    assert serializable["COMMIT"] == plain["COMMIT"] == 2
    assert serializable - plain == {"SET": 2}


def test_the_first_commit_holds_the_claim_and_the_first_phase(customer, key, ledger):
    def seen_from_outside():
        row = IdempotencyKey.objects.get(idempotency_key=key)
        return row.recovery_point, row.locked_at is not None, orders()

    seen = ledger.meanwhile(seen_from_outside)
    customer.send(key)

    assert seen.result() == (ORDERED, True, [{"title": "Emma"}])


def test_a_first_phase_that_fails_leaves_its_key_claimed(customer, key, stored, ledger):
    answer = customer.send(key, fails_in="place_order")

    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert answer.json()["retryable"] is True
    row = stored()
    assert (row.recovery_point, row.locked_at) == (STARTED, None)
    shop = "idempotency.tests.bookshop"
    assert row.last_error.startswith(f"{shop}.Mishap at {shop}:")
    assert [entry["event"] for entry in row.journal] == ["claimed", "internal_error"]
    assert row.run_after > row.created_at + timedelta(seconds=299)


def test_a_first_phase_that_fails_changes_nothing(customer, key, ledger):
    customer.send(key, fails_in="place_order")

    assert orders() == audit_trail() == ledger.calls == []


def test_a_process_that_dies_in_its_first_phase_leaves_no_trace(customer, key, ledger):
    with pytest.raises(Death):
        customer.send(key, dies_in="place_order")

    assert not IdempotencyKey.objects.exists()
    assert orders() == []


def test_two_users_may_use_the_same_key(customer, key, ledger):
    answers = [customer.send(key), Customer().send(key, title="Persuasion")]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert len(ledger.payments) == 2


# Duplicates at once.


@pytest.mark.parametrize("path", ["/orders", "/serializable/orders"])
def test_of_many_duplicates_at_once_one_runs(customer, key, ledger, elsewhere, path):
    together = Barrier(8)

    def send():
        together.wait()
        return customer.send(key, to=path)

    answers = [future.result() for future in [elsewhere(send) for _ in range(8)]]

    first = [
        a for a in answers if a.status_code == 201 and a.headers["Idempotent-Replayed"] == "false"
    ]
    assert len(first) == 1
    for answer in answers:
        if answer.status_code == 201:
            assert answer.content == first[0].content
        else:
            assert (answer.status_code, answer.json()["code"]) == (409, "request_in_progress")
    assert len(orders()) == len(ledger.payments) == StagedJob.objects.count() == 1


def test_a_duplicate_during_the_foreign_call_is_told_to_wait(customer, key, ledger):
    duplicate = ledger.meanwhile(lambda: customer.send(key))

    assert customer.send(key).status_code == 201
    assert duplicate.result().status_code == 409
    assert duplicate.result().json()["code"] == "request_in_progress"
    assert ledger.calls == ["POST payments"]


def test_a_duplicate_does_not_wait_for_ever_for_the_first_transaction(
    customer, key, ledger, elsewhere
):
    customer.send(key)
    IdempotencyKey.objects.update(idempotency_key="another-key-long-enough")
    with transaction.atomic():
        IdempotencyKey.objects.update(idempotency_key=key)  # an insert that does not commit yet

        def send():
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '50ms'")
            return customer.send(key)

        answer = elsewhere(send).result()

    assert (answer.status_code, answer.json()["code"]) == (409, "request_in_progress")
    assert answer.headers["Retry-After"] == "1"
    assert len(ledger.payments) == 1
