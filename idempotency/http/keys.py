"""The client's key: the `Idempotency-Key` header, bare or as the draft's quoted string."""

import re

from django.http import HttpRequest

from idempotency import conf
from idempotency.http.refusals import KeyInvalid, KeyMissing
from idempotency.models import KEY_MAX_LENGTH

# A Structured Field string (RFC 8941, section 3.3.3), which is how the draft writes the key:
# https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
_QUOTED_KEY = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
# Bare, as most clients send it: no quote, so that half a quoted string is not taken for a key, and
# no comma, with which servers join two headers of one name.
_BARE_KEY = re.compile(r"[\x20\x21\x23-\x2b\x2d-\x7e]+")


def read_key(request: HttpRequest) -> str:
    """The client's key from its header.

    Raises: `KeyMissing`, `KeyInvalid`.
    """
    return check_key(request.META.get("HTTP_IDEMPOTENCY_KEY", ""))


def check_key(sent: str) -> str:
    """A client's key, bare or as the draft's quoted string: both are the same key.

    Raises: `KeyMissing`, `KeyInvalid`.
    """
    sent = sent.strip(" \t")
    if not sent:
        raise KeyMissing("This request needs an Idempotency-Key header.")
    key = _unquoted(sent)
    shortest = conf.current().key_min_length
    if not shortest <= len(key) <= KEY_MAX_LENGTH:
        raise KeyInvalid(
            f"The Idempotency-Key has {len(key)} characters; "
            f"it must have {shortest} to {KEY_MAX_LENGTH}."
        )
    return key


def _unquoted(sent: str) -> str:
    if quoted := _QUOTED_KEY.fullmatch(sent):
        return re.sub(r"\\(.)", r"\1", quoted[1])
    if _BARE_KEY.fullmatch(sent):
        return sent
    raise KeyInvalid(
        "The Idempotency-Key must be one value of printable ASCII characters without a comma, "
        "or such a value in double quotes."
    )
