"""Serialization failures and deadlocks: PostgreSQL takes the transaction back, the library runs the
phase again, and the client hears of it only when that was in vain."""

import uuid
from collections.abc import Callable
from threading import Barrier
from typing import ClassVar

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.urls import path

from idempotency import (
    READ_COMMITTED,
    SERIALIZABLE,
    STARTED,
    Operation,
    RecoveryPoint,
    Response,
    atomic_phase,
    stage_job,
)
from idempotency.models import StagedJob
from idempotency.tests import bookshop

pytestmark = pytest.mark.django_db(transaction=True)


class Rehearsed(Operation):
    """Lets something happen in the middle of a phase, once for each entry, and keeps count."""

    meanwhile: ClassVar[list[Callable[[], object]]] = []
    tries: ClassVar[list[str]] = []

    def try_out(self, note):
        self.tries.append(note)
        if self.meanwhile:
            self.meanwhile.pop(0)()


class TakeNumber(Rehearsed):
    """Decides by what it read, so two at once would take the same number."""

    isolation = SERIALIZABLE

    @atomic_phase(STARTED)
    def take_number(self):
        self.number = Group.objects.count() + 1
        stage_job(bookshop.send_confirmation, title="a number", user_id=self.user.pk)
        self.try_out(f"sees {self.number}, remembers {getattr(self, 'memory', 'nothing')}")
        self.memory = "something"
        Group.objects.create(name=str(uuid.uuid4()))
        return RecoveryPoint("taken")

    @atomic_phase("taken")
    def tell(self):
        return Response(201, {"number": self.number})


class TakeNumberCarelessly(TakeNumber):
    """The same, decided where it must not be."""

    isolation = READ_COMMITTED


class LockBoth(Rehearsed):
    """Locks two rows, in two phases that share a transaction."""

    first, second = "one", "other"

    @atomic_phase(STARTED)
    def lock_first(self):
        Group.objects.select_for_update().get(name=self.first)
        return RecoveryPoint("first_locked")

    @atomic_phase("first_locked")
    def lock_second(self):
        self.try_out(f"holds {self.first}")
        Group.objects.select_for_update().get(name=self.second)
        return Response(201, {})


class LockBothBackwards(LockBoth):
    """The same in the other order."""

    first, second = "other", "one"


urlpatterns = [
    path("numbers", TakeNumber.as_view()),
    path("careless", TakeNumberCarelessly.as_view()),
    path("locks", LockBoth.as_view()),
    path("locks/backwards", LockBothBackwards.as_view()),
]


@pytest.fixture(autouse=True)
def rehearsal():
    Rehearsed.tries.clear()
    yield Rehearsed
    Rehearsed.meanwhile.clear()


@pytest.fixture
def another_takes_a_number(elsewhere):
    """Another transaction decides by the same rows, and commits first."""

    def take():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            Group.objects.create(name=f"number {Group.objects.count() + 1} of another")

    return lambda: elsewhere(take).result()


def test_a_serialization_failure_is_tried_again(
    customer, key, stored, rehearsal, another_takes_a_number
):
    rehearsal.meanwhile.append(another_takes_a_number)

    answer = customer.post({}, key, to="/numbers")

    assert (answer.status_code, answer.json()) == (201, {"number": 2})
    assert Group.objects.count() == 2
    assert stored().attempt == 1


def test_what_a_rolled_back_try_set_or_staged_is_undone(
    customer, key, rehearsal, another_takes_a_number
):
    rehearsal.meanwhile.append(another_takes_a_number)

    customer.post({}, key, to="/numbers")

    assert rehearsal.tries == ["sees 1, remembers nothing", "sees 2, remembers nothing"]
    assert StagedJob.objects.count() == 1


def test_without_the_isolation_that_it_needs_the_same_phase_decides_wrongly(
    customer, key, rehearsal, another_takes_a_number
):
    rehearsal.meanwhile.append(another_takes_a_number)

    assert customer.post({}, key, to="/careless").json() == {"number": 1}
    assert Group.objects.count() == 2


def test_the_client_hears_of_conflicts_only_when_the_retries_are_used_up(
    customer, key, stored, settings, rehearsal, another_takes_a_number
):
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "PHASE_RETRIES": 2}
    rehearsal.meanwhile.extend([another_takes_a_number] * 3)

    answer = customer.post({}, key, to="/numbers")

    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert answer.json()["retryable"] is True
    assert answer.headers["Retry-After"] == "1"
    assert len(rehearsal.tries) == 3
    assert (stored().recovery_point, stored().locked_at) == (STARTED, None)
    assert "kept changing" in stored().last_error
    assert not StagedJob.objects.exists()

    assert customer.post({}, key, to="/numbers").json() == {"number": 4}


def test_as_many_conflicts_as_there_are_retries_are_survived(
    customer, key, settings, rehearsal, another_takes_a_number
):
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "PHASE_RETRIES": 2}
    rehearsal.meanwhile.extend([another_takes_a_number] * 2)

    assert customer.post({}, key, to="/numbers").json() == {"number": 3}


def test_a_deadlock_is_tried_again_from_the_start_of_its_transaction(
    customer, key, rehearsal, elsewhere
):
    Group.objects.bulk_create([Group(name="one"), Group(name="other")])
    both_hold_one = Barrier(2)
    rehearsal.meanwhile.extend([lambda: both_hold_one.wait(timeout=10)] * 2)

    backwards = elsewhere(lambda: customer.post({}, f"{key}-2", to="/locks/backwards"))
    answer = customer.post({}, key, to="/locks")

    assert (answer.status_code, backwards.result().status_code) == (201, 201)
    assert len(rehearsal.tries) == 3  # PostgreSQL chose one of them to start again


def test_a_lock_that_another_holds_too_long_is_a_conflict(
    customer, key, stored, rehearsal, elsewhere
):
    Group.objects.bulk_create([Group(name="one"), Group(name="other")])

    def send():
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '50ms'")
        return customer.post({}, key, to="/locks")

    with transaction.atomic():
        Group.objects.select_for_update().get(name="other")
        answer = elsewhere(send).result()

    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert len(rehearsal.tries) == 1
    assert stored().recovery_point == "first_locked"
    assert customer.post({}, key, to="/locks").status_code == 201
