"""The riders that the proofs book for, as the service's own tests do."""

from collections.abc import Iterator

import pytest

from rides.payments.client import connected_client
from rides.tests.conftest import rider, rider_with, rider_with_bad_card, riders

__all__ = ["no_second_try", "rider", "rider_with", "rider_with_bad_card", "riders"]


@pytest.fixture
def no_second_try(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stripe's client would wait before it sends again what was lost, as the next attempt does."""
    connected_client.cache_clear()
    monkeypatch.setattr("rides.payments.client.RETRIES", 0)
    yield
    connected_client.cache_clear()
