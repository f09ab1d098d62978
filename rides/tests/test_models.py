"""The database's own rules: what no code path can write."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError
from django.db.utils import DataError

from idempotency.tests.constraints import constraint_of
from rides.models import Ride, StripeEvent, User
from rides.tests.factories import (
    AuditRecordFactory,
    IdempotencyKeyFactory,
    RideFactory,
    RiderFactory,
)

pytestmark = pytest.mark.django_db


def constraint_broken_by(change) -> str:
    """Return the name of the constraint that refuses the change; fail if none does."""
    with pytest.raises(IntegrityError) as refusal, transaction.atomic():
        change()
    return constraint_of(refusal.value)


@pytest.mark.parametrize(
    ("field", "limit"),
    [("origin_lat", 90), ("origin_lon", 180), ("target_lat", 90), ("target_lon", 180)],
)
@pytest.mark.parametrize("sign", ["", "-"])
def test_a_coordinate_off_the_globe_is_refused(field, limit, sign):
    RideFactory(**{field: f"{sign}{limit}"})

    assert (
        constraint_broken_by(lambda: RideFactory(**{field: f"{sign}{limit}.0000000001"}))
        == f"ride_{field}_within_{limit}_degrees"
    )


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({"amount_cents": 0}, "ride_amount_is_positive"),
        ({"currency": "USD"}, "ride_currency_is_an_iso_code"),
        ({"currency": "us"}, "ride_currency_is_an_iso_code"),
        ({"stripe_charge_id": "ch_1"}, "ride_charge_has_its_payment_intent"),
    ],
)
def test_a_payment_that_makes_no_sense_is_refused(fields, constraint):
    assert constraint_broken_by(lambda: RideFactory(**fields)) == constraint


def test_a_charge_pays_for_one_ride():
    paid = {"stripe_payment_intent_id": "pi_1", "stripe_charge_id": "ch_1"}
    RideFactory(**paid)

    constraint = constraint_broken_by(
        lambda: RideFactory(**{**paid, "stripe_payment_intent_id": "pi_2"})
    )

    assert "stripe_charge_id" in constraint


def test_a_payment_intent_pays_for_one_ride():
    RideFactory(stripe_payment_intent_id="pi_1")

    constraint = constraint_broken_by(lambda: RideFactory(stripe_payment_intent_id="pi_1"))

    assert "stripe_payment_intent_id" in constraint


def test_a_key_books_one_ride():
    ride = RideFactory()

    constraint = constraint_broken_by(
        lambda: RideFactory(user=ride.user, idempotency_key=ride.idempotency_key)
    )

    assert "idempotency_key" in constraint


def test_a_ride_outlives_its_key():
    ride = RideFactory()

    ride.idempotency_key.delete()

    assert Ride.objects.get(pk=ride.pk).idempotency_key_id is None


@pytest.mark.parametrize("owned", [RideFactory, AuditRecordFactory, IdempotencyKeyFactory])
def test_a_user_with_history_cannot_be_deleted(owned):
    user = owned().user

    with pytest.raises(ProtectedError):
        user.delete()


@pytest.mark.not_in_a_cell("SET CONSTRAINTS does not reach the node")
def test_the_database_itself_refuses_to_delete_a_user_with_rides():
    user = RideFactory().user

    def delete_in_sql() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("DELETE FROM rides_user WHERE id = %s", [user.pk])

    assert "user_id" in constraint_broken_by(delete_in_sql)


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({"stripe_customer_id": None}, "user_is_staff_or_has_a_customer"),
        ({"stripe_customer_id": ""}, "user_customer_is_not_the_empty_string"),
        ({"email": ""}, "user_email_is_lower_case_and_not_empty"),
    ],
)
def test_a_rider_without_address_or_customer_is_refused(fields, constraint):
    assert constraint_broken_by(lambda: RiderFactory(**fields)) == constraint


def test_an_address_is_kept_in_lower_case():
    rider = RiderFactory(email="  User@Example.COM ")

    assert rider.email == "user@example.com"
    assert (
        constraint_broken_by(lambda: User.objects.filter(pk=rider.pk).update(email="User@x.org"))
        == "user_email_is_lower_case_and_not_empty"
    )


def test_staff_need_no_customer_and_may_be_many():
    first = User.objects.create_superuser("first@example.com", "a password")
    second = User.objects.create_superuser("second@example.com", "a password")

    assert first.stripe_customer_id is second.stripe_customer_id is None
    assert first.is_staff
    assert first.check_password("a password")


def test_a_rider_without_password_cannot_log_in():
    assert not RiderFactory().has_usable_password()


@pytest.mark.parametrize("field", ["action", "resource_type"])
def test_an_audit_record_says_what_was_done_to_what(field):
    assert (
        constraint_broken_by(lambda: AuditRecordFactory(**{field: ""}))
        == "audit_record_names_action_and_resource"
    )


def test_the_database_checks_lengths():
    with pytest.raises(DataError), transaction.atomic():
        AuditRecordFactory(action="a" * 51)
    with pytest.raises(DataError), transaction.atomic():
        RiderFactory(email="a" * 244 + "@example.com")


def test_rows_get_their_time_from_the_database():
    ride = RideFactory()

    assert ride.created_at == Ride.objects.get(pk=ride.pk).created_at


@pytest.mark.parametrize("field", ["stripe_id", "type", "object_id"])
def test_an_event_without_an_id_a_type_or_an_object_is_refused(field):
    event = {"stripe_id": "evt_1", "type": "refund.created", "object_id": "re_1", field: ""}

    broken = constraint_broken_by(lambda: StripeEvent.objects.create(**event))

    assert broken == "stripe_event_has_an_id_and_a_type"
