"""Atomic phases in a row share one transaction: each is still undone or kept by itself."""

import itertools
from typing import ClassVar

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import path

from idempotency import (
    FINISHED,
    STARTED,
    NoOp,
    Operation,
    RecoveryPoint,
    Response,
    atomic_phase,
    stage_job,
)
from idempotency.attempts import Attempt
from idempotency.exceptions import PhaseFailed
from idempotency.models import StagedJob
from idempotency.tests import bookshop
from idempotency.tests.test_what_commit_ends import DEFERRED, INSERT_SESSION

pytestmark = pytest.mark.django_db(transaction=True)


CONFLICT_AT_COMMIT = DEFERRED.format(what="RAISE EXCEPTION USING ERRCODE = '40001';")
"""Its trigger goes with the transaction that it has rolled back, so there is one conflict."""


def raise_mishap():
    raise bookshop.Mishap("in two")


def break_the_connections_statement():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1/0")


def save_a_row_that_is_there():
    Group.objects.create(name="one")


def break_an_inner_transaction():
    with transaction.atomic(savepoint=False):
        raise bookshop.Mishap("in two")


class ThreeInARow(Operation):
    """Three phases with no foreign call between them."""

    trouble = None

    @atomic_phase(STARTED)
    def one(self):
        Group.objects.create(name="one")
        self.seen = ["one"]
        return RecoveryPoint("two")

    @atomic_phase("two")
    def two(self):
        Group.objects.create(name="two")
        self.remembered = "two"
        stage_job(bookshop.send_confirmation, title="two", user_id=self.user.pk)
        if self.trouble:
            type(self).trouble()
        return RecoveryPoint("three")

    @atomic_phase("three")
    def three(self):
        Group.objects.create(name="three")
        return Response(201, {})


class Undecided(Operation):
    """Its first phase leads to the one phase and the other in turns, and both fail."""

    ways = itertools.cycle(["one", "other"])

    @atomic_phase(STARTED)
    def begin(self):
        return RecoveryPoint(next(self.ways))

    @atomic_phase("one")
    def one(self):
        raise bookshop.Mishap("in one")

    @atomic_phase("other")
    def other(self):
        raise bookshop.Mishap("in other")


class Waiting(Operation):
    """Its second phase has nothing to do yet, and COMMIT meets a conflict the first time."""

    conflicts: ClassVar[list[str]] = []

    @atomic_phase(STARTED)
    def begin(self):
        return RecoveryPoint("waiting")

    @atomic_phase("waiting")
    def wait(self):
        Group.objects.create(name="waited")
        if self.conflicts:
            with connection.cursor() as cursor:
                cursor.execute(self.conflicts.pop())
                cursor.execute(INSERT_SESSION)
        return NoOp()


urlpatterns = [
    path("three", ThreeInARow.as_view()),
    path("undecided", Undecided.as_view()),
    path("waiting", Waiting.as_view()),
]


def groups():
    return sorted(Group.objects.values_list("name", flat=True))


@pytest.fixture
def trouble(monkeypatch):
    """Let the second phase fail in a given way."""
    return lambda how: monkeypatch.setattr(ThreeInARow, "trouble", staticmethod(how))


def test_phases_in_a_row_commit_once(customer, key, stored):
    with CaptureQueriesContext(connection) as statements:
        answer = customer.post({}, key, to="/three")

    assert answer.status_code == 201
    kinds = [statement["sql"].split()[0] for statement in statements]
    assert kinds.count("COMMIT") == 1
    assert "SAVEPOINT" not in kinds
    assert [entry["event"] for entry in stored().journal] == ["claimed", "one", "two", "three"]


WAYS_TO_FAIL = [
    raise_mishap,
    break_the_connections_statement,
    save_a_row_that_is_there,
    break_an_inner_transaction,
]


@pytest.mark.parametrize("how", WAYS_TO_FAIL)
def test_a_phase_that_fails_takes_nothing_back_of_the_one_before(
    customer, key, stored, trouble, how
):
    trouble(how)

    answer = customer.post({}, key, to="/three")

    assert answer.status_code == 500
    assert groups() == ["one"]
    assert not StagedJob.objects.exists()
    row = stored()
    assert (row.recovery_point, row.locked_at) == ("two", None)
    assert row.last_error
    assert [entry["event"] for entry in row.journal] == ["claimed", "one", "internal_error"]


@pytest.mark.parametrize("how", WAYS_TO_FAIL)
def test_a_retry_goes_on_with_the_phase_that_failed(
    customer, key, stored, trouble, monkeypatch, how
):
    trouble(how)
    customer.post({}, key, to="/three")
    monkeypatch.undo()

    assert customer.post({}, key, to="/three").status_code == 201
    assert groups() == ["one", "three", "two"]
    assert stored().recovery_point == FINISHED


def test_what_a_failed_phase_set_on_the_operation_is_undone(customer, key, trouble):
    trouble(raise_mishap)
    attempt = Attempt(ThreeInARow(user=customer.user, params={}))

    with pytest.raises(PhaseFailed):
        attempt.start(bookshop.new_key(customer.user.pk, key, operation="idempotency.ThreeInARow"))

    assert attempt.operation.seen == ["one"]
    assert not hasattr(attempt.operation, "remembered")


def test_a_phase_that_leads_elsewhere_each_time_does_not_run_for_ever(customer, key, stored):
    assert customer.post({}, key, to="/undecided").status_code == 500

    row = stored()
    assert row.recovery_point in ("one", "other")
    assert [entry["event"] for entry in row.journal] == ["claimed", "begin", "internal_error"]


@pytest.mark.not_in_a_cell("a trigger")
def test_what_a_phase_wrote_that_has_to_wait_is_kept_after_a_conflict(customer, key, monkeypatch):
    monkeypatch.setattr(Waiting, "conflicts", [CONFLICT_AT_COMMIT])

    answer = customer.post({}, key, to="/waiting")

    assert (answer.status_code, answer.json()["code"]) == (503, "postponed")
    assert groups() == ["waited"]


@pytest.mark.not_in_a_cell("a trigger")
def test_a_claim_that_was_rolled_back_and_then_lost_is_another_requests(
    customer, key, trouble, elsewhere, monkeypatch
):
    conflicts = [CONFLICT_AT_COMMIT]

    def conflict_once():
        if conflicts:
            with connection.cursor() as cursor:
                cursor.execute(conflicts.pop())
                cursor.execute(INSERT_SESSION)

    def let_another_be_first(*pause):
        assert elsewhere(lambda: customer.post({}, key, to="/three")).result().status_code == 201
        return 0.0

    trouble(conflict_once)
    monkeypatch.setattr("idempotency.transactions.random.uniform", let_another_be_first)

    answer = customer.post({}, key, to="/three")

    assert (answer.status_code, answer.headers["Idempotent-Replayed"]) == (201, "true")
    assert groups() == ["one", "three", "two"]
