"""COMMIT is the end: what comes after it runs no phase again, and where it is refused, nothing is
taken back that a foreign call answered."""

import logging
from datetime import timedelta
from functools import partial
from typing import ClassVar

import pytest
from django.db import connection, transaction
from django.urls import path

from idempotency import (
    FINISHED,
    SERIALIZABLE,
    STARTED,
    Operation,
    RecoveryPoint,
    Response,
    atomic_phase,
    commits,
    foreign_phase,
)
from idempotency.jobs.delivering import drain_staged_jobs
from idempotency.models import JobDelivery
from idempotency.testing.queue import run_queued_jobs
from idempotency.tests import bookshop, tasks
from idempotency.tests.test_memory import raise_conflict, raise_mishap

pytestmark = pytest.mark.django_db(transaction=True)

DEFERRED = """
CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {what} END $$;
CREATE CONSTRAINT TRIGGER refused_at_commit AFTER INSERT ON django_session
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp.refuse()
"""
REFUSED_AT_COMMIT = {
    "a deferred constraint": "RAISE EXCEPTION USING ERRCODE = '23514';",
    "a statement timeout": "PERFORM pg_cancel_backend(pg_backend_pid()); PERFORM pg_sleep(10);",
    "a deadlock, each time": "RAISE EXCEPTION USING ERRCODE = '40P01';",
}
INSERT_SESSION = """
INSERT INTO django_session (session_key, session_data, expire_date)
VALUES (gen_random_uuid()::text, '', now())
"""


class PayAndTell(Operation):
    """Pays, and keeps the payment and what follows in one commit."""

    trouble: ClassVar[dict] = {}
    calls: ClassVar[list] = []

    @atomic_phase(STARTED)
    def begin(self):
        self.hook("begin")
        return self.done("begin", RecoveryPoint("begun"))

    @foreign_phase("begun", window=timedelta(hours=1))
    def pay(self):
        self.calls.append("pay")
        return "paid"

    @pay.commit
    def record(self, payment):
        self.hook("record")
        return self.done("record", RecoveryPoint("recorded"))

    @atomic_phase("recorded")
    def tell(self):
        self.hook("tell")
        for statement in self.trouble.get("statements", []):
            with connection.cursor() as cursor:
                cursor.execute(statement)
        return self.done("tell", Response(201, {}))

    def done(self, phase, result):
        bookshop.audit(phase, self.user.pk)
        return result

    def hook(self, phase):
        if phase in self.trouble:
            transaction.on_commit(partial(self.trouble[phase]))


class PayAndTellSerializably(PayAndTell):
    isolation = SERIALIZABLE


urlpatterns = [
    *bookshop.urlpatterns,
    path("pay", PayAndTell.as_view()),
    path("serializably", PayAndTellSerializably.as_view()),
]


@pytest.fixture(autouse=True)
def trouble():
    PayAndTell.calls.clear()
    yield PayAndTell.trouble
    PayAndTell.trouble.clear()


@pytest.fixture
def refused_at_commit():
    def refuse(what):
        with connection.cursor() as cursor:
            cursor.execute(DEFERRED.format(what=what))

    yield refuse
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER IF EXISTS refused_at_commit ON django_session")


# What comes after COMMIT.


def fail_with_deadlock():
    raise_conflict("40P01")


def fail_with_a_lost_connection():
    connection.connection.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


HOOKS = [fail_with_deadlock, raise_mishap, fail_with_a_lost_connection]


@pytest.mark.parametrize("phase", ["begin", "record", "tell"])
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("url", ["/pay", "/serializably"])
def test_a_hook_that_fails_is_logged_with_its_name_and_the_request_goes_on(
    customer, key, stored, trouble, caplog, phase, hook, url
):
    trouble[phase] = hook

    answer = customer.post({}, key, to=url)

    assert answer.status_code == 201
    assert bookshop.audit_trail() == ["begin", "record", "tell"]
    assert (stored().recovery_point, stored().attempt, PayAndTell.calls) == (FINISHED, 1, ["pay"])
    [said] = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert said.startswith(f"a hook after COMMIT failed: hook={hook.__module__}.{hook.__name__}: ")


def test_the_hooks_behind_one_that_fails_run(customer, key, trouble):
    ran = []
    trouble.update(record=raise_mishap, tell=lambda: ran.append("tell"))

    assert customer.post({}, key, to="/pay").status_code == 201
    assert ran == ["tell"]


@pytest.mark.parametrize("job", [tasks.note, tasks.announce])
def test_a_hook_of_a_job_that_fails_leaves_the_job_done(stage, ledger, monkeypatch, caplog, job):
    def audit_and_hook(what, user_id):
        bookshop.audit(what, user_id)
        transaction.on_commit(raise_mishap)

    monkeypatch.setattr(tasks, "audit", audit_and_hook)
    stage(job, **({"what": "done"} if job is tasks.note else {"title": "Emma"}))

    drain_staged_jobs(10)
    run_queued_jobs(10)

    assert len(bookshop.audit_trail()) == 1
    assert not JobDelivery.objects.exists()
    assert [r.getMessage()[:24] for r in caplog.records if r.levelno >= logging.ERROR] == [
        "a hook after COMMIT fail"
    ]


# What COMMIT refuses.


@pytest.mark.not_in_a_cell("a trigger")
@pytest.mark.parametrize("what", REFUSED_AT_COMMIT.values(), ids=REFUSED_AT_COMMIT)
def test_what_was_answered_is_kept_when_a_later_phase_is_refused_at_commit(
    customer, key, stored, settings, trouble, refused_at_commit, what
):
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "PHASE_RETRIES": 1}
    trouble["statements"] = [INSERT_SESSION]
    refused_at_commit(what)

    for _ in range(3):
        assert customer.post({}, key, to="/pay").status_code in (409, 500)
        assert (stored().recovery_point, stored().locked_at) == ("recorded", None)

    assert bookshop.audit_trail() == ["begin", "record"]
    assert PayAndTell.calls == ["pay"]
    trouble.clear()
    assert customer.post({}, key, to="/pay").status_code == 201
    assert bookshop.audit_trail() == ["begin", "record", "tell"]
    assert PayAndTell.calls == ["pay"]


def test_what_was_answered_is_kept_when_the_answer_cannot_be_stored(
    customer, key, stored, monkeypatch
):
    write = commits.write_progress

    def refuse_answer(lease, progress):
        if progress.response is not None:
            raise ValueError("no database takes this")
        return write(lease, progress)

    with monkeypatch.context() as patched:
        patched.setattr(commits, "write_progress", refuse_answer)
        assert customer.post({}, key, to="/pay").status_code == 500

    assert stored().recovery_point == "recorded"
    assert customer.post({}, key, to="/pay").status_code == 201
    assert (bookshop.audit_trail(), PayAndTell.calls) == (["begin", "record", "tell"], ["pay"])


def test_what_was_answered_is_kept_when_a_later_phase_meets_a_conflict_each_time(
    customer, key, stored, settings, trouble
):
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "PHASE_RETRIES": 1}
    trouble["statements"] = ["DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$"]

    answer = customer.post({}, key, to="/pay")

    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert (stored().recovery_point, bookshop.audit_trail()) == ("recorded", ["begin", "record"])
