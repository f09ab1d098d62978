"""Places and amounts as people write them; the receipt and the admin say them in the same way."""

from decimal import Decimal

# https://docs.stripe.com/currencies: all others have two. Of ISK amounts are in hundredths, too.
CURRENCIES_WITHOUT_MINOR_UNITS = frozenset(
    [
        "bif",
        "clp",
        "djf",
        "gnf",
        "jpy",
        "kmf",
        "krw",
        "mga",
        "pyg",
        "rwf",
        "ugx",
        "vnd",
        "vuv",
        "xaf",
        "xof",
        "xpf",
    ]
)
CURRENCIES_OF_THOUSANDTHS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})


def place(latitude: Decimal, longitude: Decimal) -> str:
    """Return coordinates, such as ``37.7793, -122.4193``."""
    return f"{latitude.normalize():f}, {longitude.normalize():f}"


def amount(minor_units: int, currency: str) -> str:
    """Return an amount given in the minor units of its currency.

    2000 are ``20.00 USD``, ``2000 JPY`` and ``2.000 KWD``.
    """
    return f"{Decimal(minor_units).scaleb(-_digits(currency)):f} {currency.upper()}"


def _digits(currency: str) -> int:
    if currency.lower() in CURRENCIES_WITHOUT_MINOR_UNITS:
        return 0
    return 3 if currency.lower() in CURRENCIES_OF_THOUSANDTHS else 2
