"""Places and amounts as people write them; the receipt and the admin say them in the same way."""

from decimal import Decimal


def place(latitude: Decimal, longitude: Decimal) -> str:
    """Return coordinates, such as ``37.7793, -122.4193``."""
    return f"{latitude.normalize():f}, {longitude.normalize():f}"


def amount(amount_cents: int, currency: str) -> str:
    """Return an amount given in hundredths of its currency, such as ``20.00 USD``."""
    return f"{Decimal(amount_cents).scaleb(-2)} {currency.upper()}"
