"""What a retry must have in common with the first request: a fingerprint of what was sent.

It depends on no form, language, time zone, database or version of the code. Open it when two
requests are taken for one, or one for two.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Any

# Rounds nothing: two numbers that differ in their fiftieth digit are two.
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
_LONGEST_PLAIN_NUMBER = 100


def fingerprint(
    sent: Mapping[str, Any], arguments: Mapping[str, str], *, leave_out: Collection[str] = ()
) -> str:
    """Return the fingerprint of a request, of which `leave_out` names the fields that do not count.

    Method and path are not in it: a path may move. Which operation was asked for is compared beside
    it, by the operation's name.

    Args:
        sent: the fields as they came, texts of a form or values of JSON.
        arguments: the texts of the URL's arguments.
    """
    fields = {name: text_of(value) for name, value in sent.items() if name not in leave_out}
    request = {"arguments": dict(arguments), "fields": fields}
    text = json.dumps(request, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def text_of(value: Any) -> Any:
    """Return a sent value as a text; a list or an object as one of such texts.

    So a number is the same in JSON and in a form, and `007` and `7` of a form are two.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return {name: text_of(item) for name, item in value.items()}
    if isinstance(value, list):
        return [text_of(item) for item in value]
    return number_text(value)


def number_text(number: int | Decimal) -> str:
    """Return the shortest exact spelling of a number of JSON: `1`, `1.0` and `10e-1` are `1`."""
    exact = _EXACT.plus(_EXACT.normalize(Decimal(number)))
    is_short = abs(exact.adjusted()) < _LONGEST_PLAIN_NUMBER
    return format(exact, "f") if is_short else str(exact)
