"""What tests of every folder share: the Stripe stand-in, as a process of its own."""

from collections.abc import Iterator

import pytest

from sandbox.stripe.control import StandIn
from sandbox.stripe.process import running_stand_in

pytest_plugins = ["idempotency.testing.pytest_plugin"]


@pytest.fixture(scope="session")
def stand_in_process() -> Iterator[StandIn]:
    with running_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def stand_in(stand_in_process: StandIn, settings) -> StandIn:
    """An empty stand-in, and the settings that lead to it."""
    stand_in_process.reset()
    settings.STRIPE_API_KEY = "sk_test_sandbox"
    settings.STRIPE_API_BASE = stand_in_process.base_url
    return stand_in_process
