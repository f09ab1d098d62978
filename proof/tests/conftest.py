"""The riders that the proofs book for, as the service's own tests do."""

import sys
from collections.abc import Iterator

import pytest

from rides.payments.client import connected_client
from rides.tests.conftest import rider, rider_with, rider_with_bad_card, riders

__all__ = ["no_second_try", "rider", "rider_with", "rider_with_bad_card", "riders"]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stories refuse more in a row than a completer sends on for; the pause has its own tests."""
    monkeypatch.setattr("idempotency.support.refusals.MOST_IN_A_ROW", sys.maxsize)


@pytest.fixture
def no_second_try(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stripe's client would wait before it sends again what was lost, as the next attempt does."""
    connected_client.cache_clear()
    monkeypatch.setattr("rides.payments.client.RETRIES", 0)
    yield
    connected_client.cache_clear()
