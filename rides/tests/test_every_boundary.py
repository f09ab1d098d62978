"""A booking that dies at every boundary there is, in every way, and is recovered in every way."""

import pytest

from rides import payments
from rides.tests.trials import booking_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_second_try(monkeypatch):
    """Stripe's client would wait before it sends again what was lost, as the next attempt does."""
    payments._connected_client.cache_clear()
    monkeypatch.setattr(payments, "RETRIES", 0)
    yield
    payments._connected_client.cache_clear()


def test_a_booking_survives_every_fault_at_every_boundary(crash_everywhere, rider, stand_in):
    crash_everywhere(booking_of(rider, stand_in))
