"""A real stand-in for each test process, emptied before each test, and the clients to call it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from urllib.parse import urlencode, urlsplit

import pytest
import stripe

from sandbox.stripe.control import StandIn
from sandbox.stripe.process import running_stand_in

API_KEY = "sk_test_stand_in"


@dataclass(frozen=True)
class RawAnswer:
    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def is_replay(self) -> bool:
        return self.headers.get("Idempotent-Replayed") == "true"


Post = Callable[..., RawAnswer]


@pytest.fixture(scope="session")
def stand_in_process() -> Iterator[StandIn]:
    with running_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def stand_in(stand_in_process: StandIn) -> StandIn:
    stand_in_process.reset()
    return stand_in_process


@pytest.fixture
def client(stand_in: StandIn) -> stripe.StripeClient:
    return client_of(stand_in)


@pytest.fixture
def post(stand_in: StandIn) -> Post:
    """Send one form, each on a connection of its own, and see the answer as it was sent."""

    def send(path: str, params: dict, key: str | None = None, api_key: str = API_KEY) -> RawAnswer:
        return post_form(stand_in, path, params, key, api_key)

    return send


def client_of(stand_in: StandIn, max_network_retries: int = 0) -> stripe.StripeClient:
    """The unmodified client; without retries, so that a test sees each answer."""
    return stripe.StripeClient(
        API_KEY,
        base_addresses={"api": stand_in.base_url},
        max_network_retries=max_network_retries,
    )


def post_form(
    stand_in: StandIn, path: str, params: dict, key: str | None = None, api_key: str = API_KEY
) -> RawAnswer:
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    if key is not None:
        headers["Idempotency-Key"] = key
    connection = HTTPConnection(urlsplit(stand_in.base_url).netloc, timeout=10)
    try:
        connection.request("POST", path, urlencode(params), headers)
        response = connection.getresponse()
        return RawAnswer(response.status, response.headers, response.read())
    finally:
        connection.close()


def pay(client: stripe.StripeClient, key: str | None = None, **params) -> stripe.PaymentIntent:
    """A payment that is confirmed at once; off session, unless a test says otherwise."""
    defaults = {"amount": 2000, "currency": "usd", "confirm": True, "off_session": True}
    return client.v1.payment_intents.create(
        defaults | params, {"idempotency_key": key} if key else {}
    )
