"""What a call to Stripe costs by our HTTP client and by Stripe's: `python -m bench.http_clients`.

Charges at the stand-in, over real sockets. The figure is this process's own processor time, with
what Stripe's client does besides, which is the same for both.
"""

import os
import time
from uuid import uuid4

import django
import stripe

ROUNDS = 3
CALLS = 300  # of each client in a round


def measure() -> None:
    """Print a line for each client in each round."""
    from rides.payments.transport import CurlClient
    from sandbox.stripe.process import running_stand_in

    transports = {
        "ours": CurlClient(connect_timeout=4, call_timeout=16),
        "requests": stripe.RequestsClient(timeout=(4, 16)),
    }
    with running_stand_in() as stand_in:
        clients = {
            name: stripe.StripeClient(
                "sk_test_bench", base_addresses={"api": stand_in.base_url}, http_client=transport
            )
            for name, transport in transports.items()
        }
        source = {"email": "a@example.com", "source": "tok_visa"}
        customer = clients["ours"].v1.customers.create(source).id  # type: ignore[arg-type]
        for _ in range(ROUNDS):
            for name, client in clients.items():
                print(f"{name:<10}{milliseconds_a_call(client, customer):.2f} ms", flush=True)


def milliseconds_a_call(client: stripe.StripeClient, customer: str) -> float:
    """Charge once to open the connection, then often; return the processor time of a charge."""
    charge(client, customer)
    began_at = time.process_time()
    for _ in range(CALLS):
        charge(client, customer)
    return (time.process_time() - began_at) / CALLS * 1000


def charge(client: stripe.StripeClient, customer: str) -> None:
    client.v1.payment_intents.create(
        {
            "amount": 2000,
            "currency": "usd",
            "customer": customer,
            "confirm": True,
            "automatic_payment_methods": {"enabled": True},
            "return_url": "https://rides.example.com/",
        },
        {"idempotency_key": str(uuid4())},
    )


if __name__ == "__main__":
    os.environ |= {"DATABASE_URL": "postgres://none/none", "STRIPE_API_KEY": "sk_test_bench"}
    os.environ["DJANGO_SETTINGS_MODULE"] = "rocketrides.settings"
    django.setup()
    measure()
