"""Recovery points outlive a deploy: what one version of the code began, another finishes.

The two versions are two classes of one name; a deploy is a change of what there is of that name.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import transaction
from django.db.migrations.recorder import MigrationRecorder
from django.urls import path

from idempotency import FINISHED, STARTED, RecoveryPoint, Response, atomic_phase, operations
from idempotency.checks.deploys import check_first_release, check_keys_in_flight, check_migrations
from idempotency.exceptions import Parked
from idempotency.models import IdempotencyKey, StagedJob
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import (
    ORDERED,
    PAID,
    Death,
    PlaceOrder,
    audit_trail,
    orders,
)
from idempotency.tests.ledger import Fault
from idempotency.tests.processes import started_command
from idempotency.workers.completing import complete_due_keys

pytestmark = pytest.mark.django_db(transaction=True)

UNTIL_IT_IS_DUE = timedelta(hours=2)
AWAITING_PAYMENT = "awaiting_payment"

Version1 = PlaceOrder


class Version2(PlaceOrder):
    """The next version: a point has another name, and the order is confirmed when it is paid."""

    @atomic_phase(STARTED)
    def place_order(self):
        PlaceOrder.place_order.method(self)
        return RecoveryPoint(AWAITING_PAYMENT)

    pay = replace(PlaceOrder.pay, recovery_point=AWAITING_PAYMENT, renamed_from=(ORDERED,))

    @pay.commit
    def record_payment(self, payment):
        super().record_payment(payment)
        return Response(201, {"version": 2})

    confirm = replace(PlaceOrder.confirm, retired=True)


class Version3(Version2):
    """The one after it: the retired phase is gone."""

    confirm = None


@pytest.fixture
def deploy(settings, monkeypatch) -> Callable[[type[PlaceOrder]], None]:
    def mount(version):
        settings.ROOT_URLCONF = (path("orders", version.as_view()),)
        monkeypatch.setattr(version, "name", "idempotency.PlaceOrder")
        monkeypatch.setattr(operations, "all_operations", lambda: iter([version]))

    mount(Version1)
    return mount


@pytest.fixture
def left_at_ordered(deploy, customer, key, ledger) -> None:
    """Version 1 dies after the payment, before it is recorded."""
    with pytest.raises(Death):
        customer.send(key, dies_in="pay")
    let_time_pass(UNTIL_IT_IS_DUE)


@pytest.fixture
def left_at_paid(deploy, customer, key, ledger) -> None:
    customer.send(key, fails_in="confirm")
    let_time_pass(UNTIL_IT_IS_DUE)


def messages(kind: str, of: type[PlaceOrder] | None = None) -> list[str]:
    """What the check says, of those operations that stand for a project's."""
    found = check_keys_in_flight(databases=["default"])
    return [each.msg for each in found if each.id == f"idempotency.{kind}" and each.obj is of]


# Half with one version, half with the next.


def test_what_version_1_began_version_2_finishes(
    left_at_ordered, deploy, customer, key, stored, ledger
):
    deploy(Version2)

    answer = customer.send(key)

    assert (answer.status_code, answer.json()) == (201, {"version": 2})
    assert stored().recovery_point == FINISHED
    assert orders() == [{"title": "Emma", "payment": "payment-1"}]
    assert len(ledger.payments) == 1
    assert audit_trail() == ["order.placed"]


def test_the_completer_of_version_2_finishes_it_too(left_at_ordered, deploy, stored, ledger):
    deploy(Version2)

    assert complete_due_keys(10).counts["succeeded"] == 1
    assert bytes(stored().response_body) == b'{"version": 2}'
    assert len(ledger.payments) == 1


def test_a_key_at_a_retired_point_goes_through(left_at_paid, deploy, customer, key, ledger):
    deploy(Version2)

    assert customer.send(key).json()["says"] == "Grüße! 📚"
    assert StagedJob.objects.count() == len(ledger.payments) == 1


def test_nothing_new_comes_to_a_retired_point(deploy, customer, key, stored, monkeypatch, ledger):
    deploy(Version2)
    monkeypatch.setattr(Version2, "record_payment", PlaceOrder.record_payment)

    assert customer.send(key).status_code == 500
    assert PAID in stored().last_error
    assert stored().recovery_point == AWAITING_PAYMENT


def test_while_both_versions_run_each_leaves_to_the_other_what_it_does_not_know(
    deploy, customer, key, stored, ledger
):
    deploy(Version2)
    ledger.faults = [Fault.ERROR_BEFORE]
    customer.send(key)
    assert stored().recovery_point == AWAITING_PAYMENT
    let_time_pass(UNTIL_IT_IS_DUE)

    deploy(Version1)
    assert complete_due_keys(10).counts["failed"] == 1
    assert customer.send(key).json()["code"] == "parked"
    assert (stored().recovery_point, stored().is_under_review) == (AWAITING_PAYMENT, False)

    deploy(Version2)
    let_time_pass(UNTIL_IT_IS_DUE)
    assert complete_due_keys(10).counts["succeeded"] == 1
    assert len(ledger.payments) == 1


def test_a_key_that_is_parked_for_long_is_not_given_up(left_at_paid, deploy, stored, settings):
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "MAX_ATTEMPTS": 3}
    deploy(Version3)

    for _ in range(6):
        assert complete_due_keys(10).counts["failed"] == 1
        let_time_pass(UNTIL_IT_IS_DUE)
    assert not stored().is_under_review

    deploy(Version2)
    assert complete_due_keys(10).counts["succeeded"] == 1


# What is said before a deploy goes live.


def test_a_check_names_the_keys_that_the_new_code_would_park(left_at_paid, deploy, stored):
    assert messages("E008") == []

    deploy(Version3)

    assert messages("E008") == [
        "1 unfinished request(s) of 'idempotency.PlaceOrder' stand at 'paid', which this code does "
        f"not handle: {stored().pk}."
    ]


@pytest.mark.parametrize("version", [Version1, Version2])
def test_a_check_is_silent_where_a_phase_serves_the_point(left_at_ordered, deploy, version):
    deploy(version)

    assert messages("E008") == []


def test_a_check_names_requests_whose_operation_is_gone(left_at_paid, monkeypatch):
    monkeypatch.setattr(operations, "all_operations", lambda: iter(()))

    assert len(messages("E008")) == 1
    assert "'idempotency.PlaceOrder'" in messages("E008")[0]


def test_a_check_names_twenty_and_counts_the_rest(deploy, customer, key, ledger):
    for n in range(22):
        customer.send(f"{key}-{n}", fails_in="confirm")
    customer.send(key)
    deploy(Version3)

    [message] = messages("E008")

    ids = IdempotencyKey.objects.filter(recovery_point=PAID).order_by("id")
    assert message.startswith("22 unfinished request(s)")
    assert message.endswith(f"{ids[18].pk}, {ids[19].pk} and 2 more.")


def test_a_request_under_review_is_named_too(left_at_paid, deploy):
    IdempotencyKey.objects.update(needs_review_at="2026-01-01T00:00Z", locked_at=None)
    deploy(Version3)

    assert len(messages("E008")) == 1


def test_a_retired_phase_can_go_once_nothing_stands_at_its_point(
    left_at_paid, deploy, customer, key
):
    deploy(Version2)
    assert messages("I001", of=Version2) == []

    customer.send(key)

    assert messages("I001", of=Version2) == [
        "No request stands at the retired point 'paid' of Version2 any more."
    ]


def test_manage_py_check_fails_before_the_deploy(deploy, customer, key, stored, ledger):
    customer.send(key, fails_in="pay")
    with started_command("check", "--database", "default") as fine:
        assert fine.wait(30) == 0, fine.communicate()
    IdempotencyKey.objects.update(recovery_point="of another version")

    with started_command("check", "--database", "default") as check:
        _, complaints = check.communicate(timeout=30)

    assert check.returncode == 1
    assert "(idempotency.E008)" in complaints
    assert f"'of another version', which this code does not handle: {stored().pk}." in complaints


def test_a_parked_request_tells_its_client_to_come_back(left_at_paid, deploy, customer, key):
    deploy(Version3)

    answer = customer.send(key)

    assert (answer.status_code, answer.json()["code"]) == (Parked.status, "parked")
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_database_that_is_behind_the_code_is_named_and_does_not_keep_migrate_from_running():
    assert check_migrations(databases=["default"]) == []

    with transaction.atomic():
        latest = MigrationRecorder.Migration.objects.filter(app="idempotency").latest("name")
        latest.delete()
        [message] = check_migrations(databases=["default"])
        transaction.set_rollback(True)

    assert "lacks 1 migration(s)" in message.msg
    assert not message.is_serious()


def test_a_database_from_before_the_first_release_is_refused_and_nothing_is_migrated():
    assert check_first_release(databases=["default"]) == []

    with transaction.atomic():
        MigrationRecorder.Migration.objects.create(app="idempotency", name="0002_tombstones")
        with pytest.raises(SystemCheckError, match=r"E056.*no migration leads") as refused:
            call_command("migrate", verbosity=0, skip_checks=False)
        transaction.set_rollback(True)

    assert "drop it, create it, and run manage.py migrate" in str(refused.value)
