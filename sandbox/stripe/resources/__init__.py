"""The endpoints, one module for each of Stripe's resources, joined here into one table."""

from sandbox.stripe.calls import Endpoint
from sandbox.stripe.resources import (
    accounts,
    charges,
    customers,
    disputes,
    payment_intents,
    payment_methods,
    refunds,
)

# Keyed by method and path, `{id}` standing for the id in the URL.
ENDPOINTS: dict[str, Endpoint] = (
    accounts.ENDPOINTS
    | customers.ENDPOINTS
    | payment_methods.ENDPOINTS
    | payment_intents.ENDPOINTS
    | charges.ENDPOINTS
    | refunds.ENDPOINTS
    | disputes.ENDPOINTS
)
