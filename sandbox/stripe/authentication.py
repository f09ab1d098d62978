"""Who calls: the API key of a request, as Stripe takes it in a Bearer or a Basic header.

Source: https://docs.stripe.com/api/authentication
"""

import base64
import binascii
import hashlib

from sandbox.stripe.errors import unauthorized

# The stand-in is no place for a live key: it answers as Stripe does to an invalid one.
TEST_KEY_PREFIXES = ("sk_test_", "rk_test_")


def account_of(authorization: str) -> str:
    """Return the account of the header's API key, as a hash: no key is written to the file.

    Raises:
        Refused: 401, there is no key, or none that a test may use.
    """
    scheme, _, credentials = authorization.partition(" ")
    key = credentials.strip()
    if scheme.lower() == "basic":
        key = _decode_basic(key)
    if not key:
        raise unauthorized(
            "You did not provide an API key. You need to provide your API key in the "
            "Authorization header, using Bearer auth (e.g. 'Authorization: Bearer "
            "YOUR_SECRET_KEY'). See https://docs.stripe.com/api/authentication for details."
        )
    if not key.startswith(TEST_KEY_PREFIXES):
        raise unauthorized(f"Invalid API Key provided: {key[:3]}{'*' * 8}")
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _decode_basic(credentials: str) -> str:
    try:
        return base64.b64decode(credentials).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return ""
