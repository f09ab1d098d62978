"""`manage.py jobs`: what was set aside, with all that a person needs, and the way back for it."""

import io
import uuid

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from idempotency.models import JobDelivery, StagedJob

pytestmark = pytest.mark.django_db


@pytest.fixture
def aside():
    return [
        JobDelivery.objects.create(
            job_id=uuid.uuid4(),
            job_name="shop.tasks.send",
            job_args={"args": [], "kwargs": {"order": number}},
            deliveries=10,
            last_error="RuntimeError('no paper')",
            set_aside_at=timezone.now(),
        )
        for number in range(2)
    ]


def printed_by(*command):
    output = io.StringIO()
    call_command(*command, stdout=output)
    return output.getvalue().splitlines()


def test_the_list_has_name_arguments_and_error(aside):
    JobDelivery.objects.create(job_id=uuid.uuid4(), job_name="owed", job_args={})

    *rows, count = printed_by("jobs")

    assert [row.split()[0] for row in rows] == [str(job.job_id) for job in aside]
    assert "shop.tasks.send  deliveries=10" in rows[0]
    assert '{"args": [], "kwargs": {"order": 0}}  RuntimeError(\'no paper\')' in rows[0]
    assert count == "set_aside=2"


def test_the_list_has_what_was_asked_of_the_queue(aside):
    JobDelivery.objects.filter(pk=aside[1].pk).update(
        priority=-3, queue_name="a\nb", backend="bulk"
    )

    plain, asked, _ = printed_by("jobs")

    assert "deliveries=10  {" in plain
    assert "deliveries=10  priority=-3 queue=a\\nb backend=bulk  {" in asked


def test_what_is_staged_is_listed_with_its_time():
    arguments = {"args": [], "kwargs": {}}
    for_now = StagedJob.objects.create(job_id=uuid.uuid4(), job_name="now", job_args=arguments)
    for_later = StagedJob.objects.create(
        job_id=uuid.uuid4(),
        job_name="later",
        job_args=arguments,
        run_after="2099-01-01T09:30Z",
        priority=0,
    )

    now, later, counts = printed_by("jobs", "staged")

    assert now.startswith(f"{for_now.job_id}  since ")
    assert later == (
        f"{for_later.job_id}  not before 2099-01-01 09:30:00  later  priority=0  {arguments}"
    ).replace("'", '"')
    assert counts == "for_now=1 for_later=1"


def test_one_is_put_back_by_its_id(aside):
    said = printed_by("jobs", "put-back", str(aside[0].job_id), "--reason", "There is paper.")

    assert said == ["put_back=1"]
    assert JobDelivery.objects.get(set_aside_at__isnull=True) == aside[0]


def test_all_are_put_back_together(aside):
    assert printed_by("jobs", "put-back", "--all", "--reason", "There is paper.") == ["put_back=2"]

    assert printed_by("jobs", "list") == ["set_aside=0"]
    assert {"There is paper." in job.last_error for job in JobDelivery.objects.all()} == {True}


def test_a_job_that_is_not_set_aside_is_not_put_back(aside):
    with pytest.raises(CommandError, match="is set aside"):
        printed_by("jobs", "put-back", str(uuid.uuid4()), "--reason", "There is paper.")


@pytest.mark.parametrize("said", [("--reason", " "), ("--reason", "x", "--reviewer", "")])
def test_putting_back_asks_why_and_who(aside, said):
    with pytest.raises(CommandError, match="needs a reason"):
        printed_by("jobs", "put-back", "--all", *said)
    assert JobDelivery.objects.filter(set_aside_at__isnull=False).count() == 2


def test_putting_back_asks_for_a_reason(aside):
    with pytest.raises(CommandError, match="--reason"):
        printed_by("jobs", "put-back", "--all")
