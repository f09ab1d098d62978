"""A job's arguments are what the framework's own `enqueue` takes; what JSON or PostgreSQL cannot
keep is refused in the author's line, with a name. And what the library passes beside them."""

import json
from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest
from django.db import transaction

from idempotency import stage_job
from idempotency.exceptions import JobUnstorable
from idempotency.jobs.delivering import drain_staged_jobs, redeliver_overdue_jobs
from idempotency.models import JobDelivery, StagedJob
from idempotency.testing.clock import let_time_pass
from idempotency.testing.queue import run_queued_jobs
from idempotency.tests.bookshop import audit_trail
from idempotency.tests.tasks import note, note_the_attempt, note_the_attempt_outside
from idempotency.tests.test_deliveries import REDELIVERY

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    "value", [Decimal("1.10"), date(2026, 1, 1), UUID(int=1), {1, 2}], ids=repr
)
def test_what_is_not_json_is_refused_and_not_made_a_text_of(stage, value):
    with pytest.raises(TypeError, match="Unsupported type"):
        stage(what=value)

    assert not StagedJob.objects.exists()


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (float("nan"), "a number that JSON has no word for"),
        ([float("inf")], "a number that JSON has no word for"),
        ("\x00", "a NUL character"),
        ({"\x00": 1}, "a NUL character"),
        (b"\x00", "a NUL character"),
        ("\\\x00", "a NUL character"),
        ("\ud83d", "half a character"),
        ({"a": ["\udc00"]}, "half a character"),
    ],
    ids=ascii,
)
def test_what_postgresql_cannot_keep_is_refused_with_a_name(stage, value, named):
    with pytest.raises(JobUnstorable, match=f"note was not staged: .*{named}"):
        stage(what=value)

    assert not StagedJob.objects.exists()


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ((1, 2), [1, 2]),
        (b"Gr\xc3\xbc\xc3\x9fe", "Grüße"),
        ("\\u0000", "\\u0000"),
        ("\\\\u0000", "\\\\u0000"),
        ("\U0001f600", "\U0001f600"),
        ({1: None}, {"1": None}),
        (10**30, 10**30),
    ],
    ids=ascii,
)
def test_what_the_framework_takes_arrives_as_it_would_from_it(stage, value, kept):
    stage(what=value)

    assert StagedJob.objects.get().job_args["kwargs"]["what"] == kept


def test_a_refused_job_leaves_the_transaction_in_order(customer):
    with transaction.atomic():
        with pytest.raises(JobUnstorable):
            stage_job(note, what="\x00", user_id=customer.user.pk)
        stage_job(note, what="fine", user_id=customer.user.pk)

    assert StagedJob.objects.count() == 1


# The context.


@pytest.mark.parametrize("job", [note_the_attempt, note_the_attempt_outside])
def test_a_task_that_takes_its_context_gets_the_job_and_the_number_of_the_delivery(stage, job):
    job_id = stage(job, what="paper")
    drain_staged_jobs(10)
    let_time_pass(REDELIVERY)
    redeliver_overdue_jobs(10)

    assert run_queued_jobs(1).succeeded == 1

    [told] = audit_trail()
    assert json.loads(told) == [str(job_id), 2, "paper"]
    assert not JobDelivery.objects.exists()


def test_a_context_is_none_of_the_arguments(stage):
    stage(note_the_attempt, what="paper", context="mine")

    drain_staged_jobs(10)

    assert "multiple values for argument 'context'" in JobDelivery.objects.get().last_error
