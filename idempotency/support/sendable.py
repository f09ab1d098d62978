"""Whether an answer can be stored and sent as it is: what `Response` asks when it is made."""

import json
import re
from collections.abc import Mapping
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpResponse

from idempotency.exceptions import LEAVING, UnsendableAnswer

JSON, _CHARSET_OF_JSON = "application/json", "utf-8"
WITHOUT_BODY = frozenset({204, 205, 304})
_LONGEST_CONTENT_TYPE = 255  # the column's
_LONGEST_HEADERS = 16_384  # together: what proxies accept of a head
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUE = re.compile(r"[!-~\xa0-\xff]([ \t!-~\xa0-\xff]*[!-~\xa0-\xff])?|")  # RFC 9110, 5.5

NOT_AN_ANSWERS = frozenset(
    {
        *("connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer"),
        *("proxy-authenticate", "proxy-connection", "content-length", "date", "server"),
        *("content-type", "retry-after", "set-cookie", "idempotent-replayed"),
    }
)
"""Headers of one connection, of one sending, or of whoever is logged in: a replay may have none."""


def content_to_send(status: object, body: object, content_type: object) -> bytes:
    """Return the bytes that are stored, and sent again as they are.

    Bytes are left as they are, and so is a text of another type than JSON, in the charset that its
    type names. Anything else is written as JSON.

    Raises: `UnsendableAnswer` for what HTTP cannot say.
    """
    if type(status) is bool or not isinstance(status, int) or not 200 <= status <= 599:
        raise UnsendableAnswer(f"{status!r} is not the status of a final answer, 200 to 599.")
    if status in WITHOUT_BODY:
        return _no_body(status, body)
    charset = _CHARSET_OF_JSON if content_type == JSON else _charset_of(content_type)
    if isinstance(body, bytes):
        return body
    if isinstance(body, str) and content_type != JSON:
        return _encoded(body, charset)
    return _json(body).encode()


def headers_to_send(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that are stored, and sent with each replay.

    Raises: `UnsendableAnswer` for what no head can carry, and for a header that is of one
    connection, of one sending, or of one client's session.
    """
    for name, value in headers.items():
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise UnsendableAnswer(f"{name!r} is not the name of a header.")
        if name.lower() in NOT_AN_ANSWERS:
            raise UnsendableAnswer(f"{name} is not a header that can be replayed.")
        if not (isinstance(value, str) and _VALUE.fullmatch(value)):
            raise UnsendableAnswer(f"The value of {name} is none that a head can carry.")
    if sum(len(name) + len(value) for name, value in headers.items()) > _LONGEST_HEADERS:
        raise UnsendableAnswer(f"The answer's headers are longer than {_LONGEST_HEADERS}.")
    return dict(headers)


def _no_body(status: int, body: object) -> bytes:
    if body in (None, "", b""):
        return b""
    raise UnsendableAnswer(f"An answer with status {status} has no body: leave it out, or None.")


def _encoded(text: str, charset: str) -> bytes:
    try:
        return text.encode(charset)
    except UnicodeError as error:
        where = f" at position {error.start}" if isinstance(error, UnicodeEncodeError) else ""
        raise UnsendableAnswer(f"The answer is no text in {charset}{where}.") from error


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
