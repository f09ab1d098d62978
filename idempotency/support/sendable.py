"""Whether an answer can be stored and sent as it is: what `Response` asks when it is made."""

import json
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpResponse

from idempotency.exceptions import LEAVING, UnsendableAnswer

JSON = "application/json"
WITHOUT_BODY = frozenset({204, 205, 304})
_LONGEST_CONTENT_TYPE = 255  # the column's


def text_to_send(status: object, body: object, content_type: object) -> str:
    """Return the text that is stored, and sent again byte for byte.

    JSON, but a text of another type is left as it is, and bytes are taken for such a text.

    Raises: `UnsendableAnswer` for what PostgreSQL cannot store or HTTP cannot say.
    """
    if type(status) is bool or not isinstance(status, int) or not 200 <= status <= 599:
        raise UnsendableAnswer(f"{status!r} is not the status of a final answer, 200 to 599.")
    if status in WITHOUT_BODY:
        return _no_body(status, body)
    if isinstance(body, bytes) or (isinstance(body, str) and content_type != JSON):
        return _text(body, _charset_of(content_type))
    if content_type != JSON:
        _charset_of(content_type)
    return _json(body)


def _no_body(status: int, body: object) -> str:
    if body in (None, "", b""):
        return ""
    raise UnsendableAnswer(f"An answer with status {status} has no body: leave it out, or None.")


def _text(body: str | bytes, charset: str) -> str:
    try:
        text = body.decode(charset) if isinstance(body, bytes) else body
        if isinstance(body, bytes) and text.encode(charset) != body:
            raise UnsendableAnswer(f"The answer's bytes are not the only ones of {charset} for it.")
        text.encode(charset)
    except UnicodeError as error:
        raise UnsendableAnswer(
            f"The answer is no text in {charset}: {error.reason} at position {error.start}."
            if isinstance(error, UnicodeDecodeError | UnicodeEncodeError)
            else f"The answer is no text in {charset}."
        ) from error
    if "\x00" in text:
        raise UnsendableAnswer("The answer has a NUL character, which PostgreSQL does not store.")
    return text


def _json(body: object) -> str:
    try:
        return json.dumps(body, cls=DjangoJSONEncoder, allow_nan=False)
    except LEAVING:
        raise
    except BaseException as error:  # an object in it may raise anything when it is asked
        raise UnsendableAnswer(
            "The answer is neither text nor JSON. NaN, infinity, a key that is no text, an object "
            "that has no form in JSON, or one inside itself, are not."
        ) from error


def _charset_of(content_type: Any) -> str:
    """Return the charset in which Django will send it."""
    try:
        named = HttpResponse(content_type=content_type)
        if len(content_type) > _LONGEST_CONTENT_TYPE or not content_type.isprintable():
            raise ValueError
        "".encode(named.charset)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UnsendableAnswer(
            f"The answer's content type cannot be sent, or is longer than {_LONGEST_CONTENT_TYPE}."
        ) from error
    return str(named.charset)
