"""`manage.py seed`: the original's two riders and the demo's admin, in the embedded database only,
and again without harm.
"""

import io
import re

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.test import Client

from idempotency import Pending
from rides import payments
from rides.checks import DEMO_LOGIN
from rides.models import User
from rides.tests.factories import RideFactory
from sandbox.stripe.control import StandIn

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def demo(settings, stand_in: StandIn) -> None:
    settings.EMBEDDED_POSTGRES = True


def logs_in(client: Client, password: str) -> bool:
    form = {"username": "admin@example.com", "password": password}
    return client.post("/admin/login/", form).status_code == 302


def seed() -> str:
    output = io.StringIO()
    call_command("seed", stdout=output)
    return output.getvalue()


def charge_a_ride_of(email: str) -> payments.Charge | Pending:
    ride = RideFactory(user=User.objects.get(email=email))
    return payments.charge(ride)


def test_the_first_rider_pays_the_second_is_declined_and_the_third_is_asked_by_the_bank():
    seed()

    first, second, third = User.objects.exclude(is_staff=True).order_by("pk")
    assert first.email == "user@example.com"
    assert second.email == "user-bad-source@example.com"
    assert third.email == "user-3ds@example.com"
    paid = charge_a_ride_of(first.email)
    assert isinstance(paid, payments.Charge)
    assert paid.amount_cents == 2000
    with pytest.raises(payments.CardDeclined):
        charge_a_ride_of(second.email)
    assert isinstance(charge_a_ride_of(third.email), Pending)


def test_it_says_who_is_there():
    output = seed()

    rider = User.objects.get(email="user@example.com")
    assert f"user@example.com: {rider.stripe_customer_id}" in output
    assert "admin@example.com: password rocket" in output


def test_seeding_again_changes_nothing(stand_in):
    seed()
    users = list(User.objects.values().order_by("pk"))
    customers_made = stand_in.calls()["calls"]["POST /v1/customers"]

    seed()

    assert list(User.objects.values().order_by("pk")) == users
    assert stand_in.calls()["calls"]["POST /v1/customers"] == customers_made == 3


def test_riders_whom_stripe_forgot_get_new_customers(stand_in):
    seed()
    before = User.objects.get(email="user@example.com")
    stand_in.reset()

    seed()

    after = User.objects.get(email="user@example.com")
    assert after.pk == before.pk
    assert after.stripe_customer_id != before.stripe_customer_id
    assert charge_a_ride_of("user@example.com").amount_cents == 2000


def test_the_admin_can_log_in(client):
    seed()

    assert logs_in(client, "rocket")
    assert client.get("/admin/").status_code == 200


def test_a_password_that_was_changed_stays(client):
    seed()
    admin = User.objects.get(email="admin@example.com")
    admin.set_password("better")
    admin.save()

    seed()

    assert logs_in(client, "better")


def test_another_database_gets_an_admin_whose_password_is_printed_once(settings, client, stand_in):
    settings.EMBEDDED_POSTGRES = False

    first, second = seed(), seed()

    password = re.fullmatch(
        r"admin@example\.com: password (\S{24}) \(it is not shown again\)\n", first
    )[1]
    assert logs_in(client, password)
    assert not logs_in(client, "rocket")
    assert password not in second
    assert User.objects.count() == 1
    assert stand_in.calls()["calls"] == {}


def test_another_database_that_has_an_admin_is_left_alone(settings):
    settings.EMBEDDED_POSTGRES = False
    User.objects.create_superuser("boss@example.com", "a password of their own")

    seed()

    assert User.objects.count() == 1


def demo_login_errors() -> list[str]:
    messages = run_checks(databases=["default"])
    return [message.id for message in messages if message.id == DEMO_LOGIN]


def test_a_check_refuses_the_demos_login_in_another_database(settings, client):
    seed()
    assert demo_login_errors() == []

    settings.EMBEDDED_POSTGRES = False
    assert demo_login_errors() == [DEMO_LOGIN]

    User.objects.filter(email="admin@example.com").update(is_active=False)
    assert demo_login_errors() == []

    admin = User.objects.get(email="admin@example.com")
    admin.is_active = True
    admin.set_password("a better one")
    admin.save()
    assert demo_login_errors() == []


def test_the_demos_login_opens_no_other_database(settings, client):
    seed()
    assert logs_in(client, "rocket")

    settings.EMBEDDED_POSTGRES = False

    assert not logs_in(client, "rocket")


def test_a_stripe_that_does_not_answer_is_one_clear_line(stand_in):
    stand_in.add_fault("rate_limit")

    with pytest.raises(CommandError, match=f"^Stripe at {stand_in.base_url} gave no customer: "):
        seed()

    assert not User.objects.exists()
