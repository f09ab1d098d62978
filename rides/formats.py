"""Places and amounts as people write them; the receipt and the admin say them in the same way."""

from decimal import Decimal

from iso4217 import Currency

# Stripe's minor units are those of ISO 4217 but for these
# (https://docs.stripe.com/currencies, "Zero-decimal currencies" and "Special cases").
DIGITS_AT_STRIPE = {"isk": 2, "mga": 0, "ugx": 2}


def place(latitude: Decimal | None, longitude: Decimal | None) -> str:
    """Return coordinates, such as ``37.7793, -122.4193``."""
    if latitude is None or longitude is None:
        return "erased"
    return f"{latitude.normalize():f}, {longitude.normalize():f}"


def amount(minor_units: int, currency: str) -> str:
    """Return an amount given in the minor units of its currency.

    2000 are ``20.00 USD``, ``2000 JPY`` and ``2.000 KWD``.
    """
    return f"{Decimal(minor_units).scaleb(-_digits(currency)):f} {currency.upper()}"


def _digits(currency: str) -> int:
    """Return how many decimals an amount has; two for what no currency is called."""
    if (at_stripe := DIGITS_AT_STRIPE.get(currency.lower())) is not None:
        return at_stripe
    try:
        return Currency(currency.upper()).exponent or 0
    except ValueError:
        return 2
