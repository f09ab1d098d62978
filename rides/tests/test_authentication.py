"""The demonstration's credential: whom an address in `Authorization` stands for."""

import pytest
from django.test import RequestFactory

from rides.authentication import demo_rider
from rides.models import User
from rides.tests.factories import RiderFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def demo_auth(settings):
    settings.DEMO_AUTH = True


def rider_of(authorization: str | None) -> User | None:
    headers = {} if authorization is None else {"HTTP_AUTHORIZATION": authorization}
    return demo_rider(RequestFactory().post("/rides", **headers))


def test_an_address_is_its_rider():
    rider = RiderFactory(email="user@example.com")

    assert rider_of("user@example.com") == rider
    assert rider_of("User@Example.com") == rider
    assert rider_of("Bearer user@example.com") == rider_of("bearer user@example.com") == rider


def test_it_takes_one_statement_with_the_customer_in_it(django_assert_num_queries):
    rider = RiderFactory()

    with django_assert_num_queries(1):
        found = rider_of(rider.email)
        assert found.stripe_customer_id == rider.stripe_customer_id
        assert str(found) == rider.email


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "stranger@example.com",
        "Basic user@example.com",
        "Bearer ",
        "Bearer  user@example.com",
        "user@example.com\x00",
        "\xfc\xff@example.com",
        "x" * 10_000,
    ],
)
def test_anything_else_is_nobody(authorization):
    RiderFactory(email="user@example.com")

    assert rider_of(authorization) is None


def test_staff_are_no_riders():
    User.objects.create_superuser("admin@example.com", "a password")

    assert rider_of("admin@example.com") is None


def test_a_rider_who_was_shut_out_is_nobody():
    RiderFactory(email="user@example.com", is_active=False)

    assert rider_of("user@example.com") is None


def test_without_demo_auth_an_address_is_nobody(settings, django_assert_num_queries):
    settings.DEMO_AUTH = False
    RiderFactory(email="user@example.com")

    with django_assert_num_queries(0):
        assert rider_of("user@example.com") is None
