"""What the database itself refuses, whoever writes and whatever the code forgets."""

import uuid

import pytest
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import ProtectedError

from idempotency.models import Doors, IdempotencyKey, JobDelivery, ReaperPosition, StagedJob
from idempotency.tests.constraints import constraint_of

pytestmark = pytest.mark.django_db

NOW = "2026-01-01T00:00Z"
ANSWER = {
    "recovery_point": "finished",
    "response_code": 201,
    "response_body": b"{}",
    "response_content_type": "application/json",
}


@pytest.fixture
def create(customer):
    """Write a key that is valid but for `changes`."""

    def create(**changes):
        valid = {
            "user": customer.user,
            "idempotency_key": "a-key-long-enough-" + uuid.uuid4().hex,
            "request_method": "POST",
            "request_path": "/orders",
            "request_params": {},
            "fingerprint": "0" * 64,
            "foreign_key": uuid.uuid4(),
        }
        return IdempotencyKey.objects.create(**{**valid, **changes})

    return create


def broken_by(write):
    """The name of the constraint that a write breaks."""
    with pytest.raises(IntegrityError) as refusal, transaction.atomic():
        write()
    return constraint_of(refusal.value)


def test_a_key_is_unique_for_its_user(create):
    key = create()

    assert (
        broken_by(lambda: create(idempotency_key=key.idempotency_key))
        == "idempotency_key_unique_per_user"
    )


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"idempotency_key": "k" * 19}, "idempotency_key_long_enough"),
        ({"recovery_point": ""}, "idempotency_key_recovery_point_named"),
        ({"attempt": 0}, "idempotency_key_attempt_positive"),
        ({"recovery_point": "finished"}, "idempotency_key_finished_means_answered"),
        ({**ANSWER, "recovery_point": "paid"}, "idempotency_key_finished_means_answered"),
        ({**ANSWER, "response_body": None}, "idempotency_key_finished_means_answered"),
        ({**ANSWER, "response_content_type": None}, "idempotency_key_finished_means_answered"),
        ({**ANSWER, "response_code": 99}, "idempotency_key_finished_means_answered"),
        ({**ANSWER, "response_code": 600}, "idempotency_key_finished_means_answered"),
        ({**ANSWER, "locked_at": NOW}, "idempotency_key_finished_means_answered"),
        ({**ANSWER, "needs_review_at": NOW}, "idempotency_key_finished_means_answered"),
        (
            {"locked_at": NOW, "needs_review_at": NOW},
            "idempotency_key_under_review_is_not_leased",
        ),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(create, changes, constraint):
    assert broken_by(lambda: create(**changes)) == constraint


@pytest.mark.parametrize(
    "changes", [{}, ANSWER, {"locked_at": NOW}, {"needs_review_at": NOW}, {"attempt": 7}]
)
def test_a_key_that_makes_sense_is_taken(create, changes):
    assert create(**changes).pk


@pytest.mark.parametrize(
    "changes",
    [{"idempotency_key": "k" * 256}, {"recovery_point": "p" * 51}, {"fingerprint": "0" * 65}],
)
def test_lengths_are_the_databases_too(create, changes):
    with pytest.raises(DataError), transaction.atomic():
        create(**changes)


@pytest.mark.not_in_a_cell("SET CONSTRAINTS does not reach the node")
def test_a_user_with_keys_cannot_be_deleted(create, customer):
    create()

    with pytest.raises(ProtectedError):
        customer.user.delete()
    assert "user_id" in broken_by(lambda: delete_behind_djangos_back(customer.user))


def delete_behind_djangos_back(user):
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(f"DELETE FROM {user._meta.db_table} WHERE id = %s", [user.pk])


def test_every_key_has_a_foreign_key_of_its_own(create):
    assert isinstance(create().foreign_key, uuid.UUID)
    assert create().foreign_key != create().foreign_key


# Jobs.


@pytest.mark.parametrize("model", [StagedJob, JobDelivery])
def test_a_job_is_there_once(model):
    job_id = uuid.uuid4()
    model.objects.create(job_id=job_id, job_name="a.task", job_args={})

    assert "job_id" in broken_by(
        lambda: model.objects.create(job_id=job_id, job_name="a.task", job_args={})
    )


def test_a_staged_job_has_a_name():
    assert (
        broken_by(lambda: StagedJob.objects.create(job_id=uuid.uuid4(), job_name="", job_args={}))
        == "staged_job_named"
    )


@pytest.mark.parametrize(
    "half", [{"lease_token": uuid.UUID(int=1)}, {"leased_until": NOW}], ids=["token", "time"]
)
def test_a_delivery_is_leased_by_a_token_until_a_time(half):
    new = {"job_id": uuid.uuid4(), "job_name": "a.task", "job_args": {}}

    assert (
        broken_by(lambda: JobDelivery.objects.create(**new, **half))
        == "job_delivery_leased_until_a_time"
    )


# What there is one of.


def test_the_reaper_has_one_position():
    assert (
        broken_by(lambda: ReaperPosition.objects.create(id=2, last_run_at=NOW))
        == "reaper_position_is_one_row"
    )


def test_the_doors_are_closed_once():
    assert broken_by(lambda: Doors.objects.create(id=2)) == "doors_are_one_row"
