"""Riders that exist on both sides, in the database and as customers at the Stripe stand-in; and the
service's servers, one of each for the whole run.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from django.core.cache import cache

from rides import payments
from rides.demo import RIDERS
from rides.management.commands.seed import seed_rider
from rides.models import User
from rides.tests.answering import answering_with, saying
from rides.tests.factories import RiderFactory
from rides.tests.processes import RUNSERVER, Api, running_api
from sandbox.stripe.control import StandIn

RiderWith = Callable[[str], User]


@pytest.fixture(autouse=True)
def no_wrong_passwords_before() -> None:
    """Of an earlier test, since the process counts them."""
    cache.clear()


@pytest.fixture
def rider_with(stand_in: StandIn, db: None) -> RiderWith:
    """Make a rider whose card is the one that a token of Stripe's stands for."""

    def make(source: str) -> User:
        email = f"{source.lower()}@example.com"
        customer_id = payments.create_customer(email=email, source=source)
        return RiderFactory(email=email, stripe_customer_id=customer_id)

    return make


@pytest.fixture
def rider(rider_with: RiderWith) -> User:
    return rider_with("tok_visa")


@pytest.fixture
def rider_with_bad_card(rider_with: RiderWith) -> User:
    return rider_with("tok_chargeCustomerFail")


@pytest.fixture
def riders(stand_in: StandIn, db: None) -> None:
    """The original's two, whom `booking.RIDER` and `booking.RIDER_WITH_BAD_CARD` name."""
    for email, source in RIDERS.items():
        seed_rider(email, source)


@pytest.fixture
def answering(stand_in: StandIn, settings) -> Iterator[Callable[..., None]]:
    """Let something else than Stripe answer, with a status and a body (and headers)."""
    with ExitStack() as servers:

        def answer(status: int, body: bytes, **headers: str) -> None:
            say = saying(status, body, **headers)
            settings.STRIPE_API_BASE = servers.enter_context(answering_with(say))

        yield answer


@pytest.fixture(scope="session")
def api(
    stand_in_process: StandIn, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """The API as the Procfile runs it. What it commits, only transactional tests take back."""
    with running_api(stand_in_process, tmp_path_factory.mktemp("api")) as api:
        yield api


@pytest.fixture(scope="session")
def runserver(
    stand_in_process: StandIn, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """The API as a developer runs it."""
    with running_api(stand_in_process, tmp_path_factory.mktemp("runserver"), RUNSERVER) as api:
        yield api


@pytest.fixture(scope="session")
def behind(
    stand_in_process: StandIn, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """The API behind a balancer, which it believes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUSTED_PROXIES", "127.0.0.1")
        with running_api(stand_in_process, tmp_path_factory.mktemp("behind")) as api:
            yield api
