"""Customers at Stripe: whom it charges. Apart from the charges, which need none of this."""

import stripe

from rides.payments.client import client, is_missing


class CustomerUnavailable(Exception):
    """Stripe did not create or show a customer; the text is Stripe's reason."""


def create_customer(*, email: str, source: str) -> str:
    """Create a customer with a card at Stripe and return its id; `source` is a card's token.

    Raises: CustomerUnavailable.
    """
    try:
        return client().v1.customers.create({"email": email, "source": source}).id
    except stripe.StripeError as error:
        raise CustomerUnavailable(str(error)) from error


def customer_exists(customer_id: str) -> bool:
    """Say whether Stripe still has the customer.

    Raises: CustomerUnavailable.
    """
    try:
        customer = client().v1.customers.retrieve(customer_id)
    except stripe.StripeError as error:
        if is_missing(error):
            return False
        raise CustomerUnavailable(str(error)) from error
    return not getattr(customer, "deleted", False)
