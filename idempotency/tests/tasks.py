"""The jobs that these tests stage: what the bookshop's own cannot show."""

import contextlib
import json
import time
from datetime import timedelta

from asgiref.sync import sync_to_async
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connection, transaction

from idempotency import job_limit
from idempotency.support.compat import TaskContext, task
from idempotency.tests import ledger
from idempotency.tests.bookshop import audit


@task()
def note(what: str, user_id: int) -> None:
    audit(what, user_id)


@task()
def fail(user_id: int) -> None:
    audit("a failed job's effect", user_id)
    raise RuntimeError("no paper")


@task()
def fail_and_go_on(user_id: int) -> None:
    audit("a failed job's effect", user_id)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
    except DatabaseError:
        return


@task()
def save_twice_and_go_on(user_id: int) -> None:
    audit("a failed job's effect", user_id)
    with contextlib.suppress(DatabaseError):
        get_user_model()(pk=user_id).save(force_insert=True)


@task(priority=50)
def note_urgently(user_id: int) -> None:
    audit("urgent", user_id)


@task()
async def note_in_a_coroutine(user_id: int) -> None:
    await sync_to_async(audit)("awaited", user_id)


# Jobs that take their context.


@task(takes_context=True)
def note_the_attempt(context: TaskContext, what: str, user_id: int) -> None:
    audit(json.dumps([context.task_result.id, context.attempt, what]), user_id)


@task(takes_context=True)
def note_the_attempt_outside(context: TaskContext, what: str, user_id: int, settling) -> None:
    with settling():
        audit(json.dumps([context.task_result.id, context.attempt, what]), user_id)


# Jobs that call out.


@task()
def announce(title: str, user_id: int, *, settling) -> None:
    assert get_user_model().objects.filter(pk=user_id).exists()
    ledger.announce(title)
    with settling():
        audit("announced", user_id)


@task()
def announce_only(title: str, user_id: int, settling) -> None:
    ledger.announce(title)


@task()
def write_before_the_call(user_id: int, settling) -> None:
    audit("written outside", user_id)
    ledger.announce("Emma")


@task()
def settle_twice(user_id: int, settling) -> None:
    with settling():
        audit("once", user_id)
    with settling():
        audit("twice", user_id)


@task()
def write_after_settling(user_id: int, settling) -> None:
    with settling():
        audit("inside", user_id)
    audit("outside", user_id)


@task()
def fail_in_settling_and_go_on(user_id: int, settling) -> None:
    try:
        with settling():
            audit("a failed block's effect", user_id)
            raise RuntimeError("no paper")
    except RuntimeError:
        return


@task()
def read_in_a_transaction(user_id: int, settling) -> None:
    with transaction.atomic():
        LogEntry.objects.count()
        ledger.announce("Emma")


# Jobs that take long.


@task()
@job_limit(timedelta(seconds=0.3))
def take_long(user_id: int, settling) -> None:
    with settling():
        audit("a job that took too long", user_id)
        time.sleep(5)


@task()
@job_limit(timedelta(seconds=0.3))
def write_and_take_long(user_id: int) -> None:
    audit("a job that took too long", user_id)
    time.sleep(5)


@task()
@job_limit(timedelta(seconds=0.3))
def take_a_little_too_long(user_id: int, settling) -> None:
    time.sleep(0.4)
    with settling():
        audit("a job that took too long", user_id)


@task()
def write_and_wait(user_id: int) -> None:
    audit("begun", user_id)
    time.sleep(0.6)
    audit("done", user_id)
