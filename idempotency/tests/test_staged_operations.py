"""An operation that another one stages: owed once the first commits, and carried out once."""

import pytest
from django.db import transaction
from django.test import Client

from idempotency import stage_operation
from idempotency.exceptions import OperationNotStaged, StagedOutsideTransaction
from idempotency.models import FINISHED, IdempotencyKey
from idempotency.tests import parcels as shop
from idempotency.tests.ledger import Fault
from idempotency.tests.parcels import CheckOut, SendParcel, parcels
from idempotency.workers.completing import complete_due_keys

pytestmark = pytest.mark.django_db(transaction=True)

urlpatterns = shop.urlpatterns


@pytest.fixture
def check_out(customer, key, ledger):
    def check_out(**staged):
        CheckOut.staged = staged
        return customer.post({}, key, to="/check-out")

    yield check_out
    CheckOut.staged = {}


def staged_key():
    return IdempotencyKey.objects.get(operation=SendParcel.name)


def test_it_commits_with_the_phase_and_the_completer_carries_it_out(check_out, customer, ledger):
    assert check_out().status_code == 202
    row = staged_key()
    assert (row.user, row.locked_at, row.recovery_point) == (customer.user, None, "started")
    assert [entry["event"] for entry in row.journal] == ["staged"]

    assert complete_due_keys(10).counts["succeeded"] == 1

    assert (staged_key().recovery_point, staged_key().response_code) == (FINISHED, 201)
    assert len(parcels()) == len(ledger.payments) == 1


def test_a_second_time_it_writes_nothing_more(check_out, customer):
    check_out()
    row = staged_key()
    params = {"of": row.request_params["of"], "grams": 500}

    with transaction.atomic():
        stage_operation(SendParcel, key=row.idempotency_key, params=params, user=customer.user)

    assert staged_key().lease_token == row.lease_token


def test_where_the_phase_is_rolled_back_nothing_is_owed(check_out):
    assert check_out(params={"of": "x", "grams": 0}).status_code == 500

    assert not IdempotencyKey.objects.filter(operation=SendParcel.name).exists()


@pytest.mark.parametrize(
    ("staged", "why"),
    [
        ({"params": {"of": "x", "grams": 0}}, "grams: Ensure this value"),
        ({"params": {"of": "x"}}, "grams: This field is required"),
        ({"params": {"weight": 1}}, "weight: is not a known field"),
        ({"key": "short"}, "it must have 20 to 255"),
    ],
    ids=str,
)
def test_what_its_form_refuses_is_the_authors_to_mend(check_out, key, stored, staged, why):
    answer = check_out(**staged)

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert why in stored().last_error
    assert stored().last_error.startswith("OperationNotStaged: ")


def test_the_key_of_something_else_is_named(check_out, key, stored, customer):
    check_out(key="a-key-of-another-parcel")

    with pytest.raises(OperationNotStaged, match="another operation"), transaction.atomic():
        stage_operation(
            SendParcel,
            key="a-key-of-another-parcel",
            params={"of": "another", "grams": 1},
            user=customer.user,
        )


def test_outside_of_a_transaction_or_of_a_phase_it_says_what_is_missing(customer):
    with pytest.raises(StagedOutsideTransaction):
        stage_operation(SendParcel, key="k" * 20, user=customer.user)
    with pytest.raises(TypeError, match="user="), transaction.atomic():
        stage_operation(SendParcel, key="k" * 20)


def test_its_client_may_ask_for_it_too(check_out, customer, ledger):
    check_out()
    row = staged_key()
    headers = {"Authorization": str(customer.user.pk), "Idempotency-Key": row.idempotency_key}
    body = {"of": row.request_params["of"], "grams": 500}

    answer = Client().post("/parcels", body, "application/json", headers=headers)

    assert answer.status_code == 201
    assert complete_due_keys(10).counts["succeeded"] == 0
    assert len(ledger.payments) == 1


def test_what_fails_is_tried_again_as_any_request(check_out, ledger):
    check_out()
    ledger.faults = [Fault.ERROR_AFTER]

    assert complete_due_keys(10).counts["failed"] == 1
    IdempotencyKey.objects.update(run_after="2026-01-01T00:00Z")
    assert complete_due_keys(10).counts["succeeded"] == 1
    assert len(ledger.payments) == len(parcels()) == 1
