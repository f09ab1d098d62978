"""Forgetting a rider: who it was is nowhere any more, and what the books need is where it was."""

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from idempotency.models import JobDelivery
from rides import payments
from rides.apikeys.keys import issue_key
from rides.forgetting import forget
from rides.models import ApiKey, AuditRecord, Ride, User
from rides.tests.booking import COORDINATES, KEY, ask, every_row, run, the_key
from sandbox.stripe.control import StandIn

pytestmark = pytest.mark.django_db(transaction=True)

ADDRESS = "somebody-who-leaves@example.com"
ORIGIN = "198.51.100.23"
NAME = "The laptop of Somebody Who Leaves"
PERSONAL = (ADDRESS, ORIGIN, NAME, *(degrees.strip("-") for degrees in COORDINATES.values()))


@pytest.fixture
def rider(stand_in: StandIn) -> User:
    customer = payments.create_customer(email=ADDRESS, source="tok_visa")
    rider = User.objects.create_user(ADDRESS, "a-password-of-theirs", stripe_customer_id=customer)
    issue_key(rider, NAME)
    return rider


def book(key: str = KEY, **fields: str):
    return ask(key, rider=ADDRESS, client=Client(REMOTE_ADDR=ORIGIN), **fields)


def settle_all_jobs() -> None:
    run("enqueuer", "--once")
    call_command("db_worker", "--queue-name", "*", "--batch", "--no-reload", "--no-startup-delay")


def found_in_rows(words: tuple[str, ...]) -> dict[str, str]:
    return {
        f"{table}.{column}": str(value)
        for table, rows in every_row().items()
        for row in rows
        for column, value in row.items()
        if any(word in str(value) for word in words)
    }


def test_who_it_was_is_nowhere_any_more(rider, client, mailoutbox):
    assert book().status_code == 201
    settle_all_jobs()
    assert [mail.to for mail in mailoutbox] == [[ADDRESS]]
    client.force_login(rider)
    admin = Client()
    admin.force_login(User.objects.create_superuser("boss@example.com"))
    admin.post(f"/admin/rides/user/{rider.pk}/change/", {"email": ADDRESS, "is_active": "on"})
    assert {ADDRESS, ORIGIN, NAME} & set(found_in_rows(PERSONAL).values())

    assert run("forget-user", ADDRESS) == (
        f"forgotten=user {rider.pk} requests=1 rides=1 api_keys=1 sessions=1"
    )

    assert found_in_rows(PERSONAL) == {}


def test_what_the_books_need_stays(rider, stand_in):
    assert book().status_code == 201
    before = Ride.objects.get()
    [charge] = stand_in.charges()

    forget(ADDRESS)

    ride = Ride.objects.get()
    kept = ("amount_cents", "currency", "created_at", "stripe_customer_id", "stripe_charge_id")
    assert [getattr(ride, name) for name in kept] == [getattr(before, name) for name in kept]
    assert ride.stripe_charge_id == charge["id"]
    records = AuditRecord.objects.order_by("id").values_list("action", flat=True)
    assert list(records) == ["ride.created", "user.forgotten"]
    assert " discrepancies=0" in run("reconcile")


def test_a_retry_of_theirs_is_nobodys_and_nobody_can_log_in(rider, client):
    assert book().status_code == 201
    forget(ADDRESS)

    assert book().status_code == 401
    assert the_key().is_tombstone
    form = {"username": ADDRESS, "password": "a-password-of-theirs"}
    assert client.post("/admin/login/", form).status_code == 200
    assert not ApiKey.objects.exists()


def test_a_rider_with_a_request_under_way_is_forgotten_once_it_is_finished(rider):
    assert book(raise_error="true").status_code == 500

    with pytest.raises(CommandError, match="1 of their requests are not finished"):
        run("forget-user", ADDRESS)
    assert Ride.objects.get().origin_ip == ORIGIN
    assert User.objects.get(pk=rider.pk).is_active is False

    User.objects.update(is_active=True)  # as somebody who lets it go on
    assert book().status_code == 201
    assert forget(ADDRESS)[1].rides == 1
    assert found_in_rows((ORIGIN,)) == {}


def test_what_came_in_since_is_erased_when_they_are_forgotten_again(rider):
    forget(ADDRESS)
    User.objects.update(is_active=True)
    renamed = User.objects.get(pk=rider.pk).email
    assert ask(rider=renamed, client=Client(REMOTE_ADDR=ORIGIN)).status_code == 201
    assert found_in_rows((ORIGIN,))

    _, forgotten = forget(str(rider.pk))

    assert (forgotten.requests, forgotten.rides) == (1, 1)
    assert found_in_rows((ORIGIN,)) == {}


def test_a_receipt_that_is_still_owed_is_sent_to_nobody(rider, mailoutbox):
    assert book().status_code == 201
    forget(ADDRESS)

    settle_all_jobs()

    assert mailoutbox == []
    assert not JobDelivery.objects.exists()


def test_staff_and_strangers_are_not_forgotten(db):
    User.objects.create_superuser("boss@example.com")

    with pytest.raises(CommandError, match="is staff"):
        run("forget-user", "boss@example.com")
    for stranger in ("nobody@example.com", "²", "9" * 30):
        with pytest.raises(CommandError, match="There is no user"):
            run("forget-user", stranger)
