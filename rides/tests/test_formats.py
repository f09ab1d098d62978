"""Amounts as people write them, by the minor units that each currency has."""

import pytest

from rides.formats import amount


@pytest.mark.parametrize(
    ("minor_units", "currency", "written"),
    [
        (2000, "usd", "20.00 USD"),
        (5, "eur", "0.05 EUR"),
        (2000, "jpy", "2000 JPY"),
        (0, "KRW", "0 KRW"),
        (500, "isk", "5.00 ISK"),
        (500, "ugx", "5.00 UGX"),
        (500, "mga", "500 MGA"),
        (500, "huf", "5.00 HUF"),
        (5120, "kwd", "5.120 KWD"),
        (1234, "KWD", "1.234 KWD"),
        (2000, "vnd", "2000 VND"),
        (500, "of no country", "5.00 OF NO COUNTRY"),
        (-2000, "usd", "-20.00 USD"),
        (99_999_999, "usd", "999999.99 USD"),
    ],
)
def test_an_amount_has_the_digits_of_its_currency(minor_units, currency, written):
    assert amount(minor_units, currency) == written
