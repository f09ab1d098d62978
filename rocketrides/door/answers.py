"""Django's answer to a request, as a server sends it: status, headers and content."""

import logging

from django.core import signals
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest, get_script_name
from django.http import HttpResponseBase
from django.urls import set_script_prefix

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]

FAILED: Answer = (500, [], b"")

logger = logging.getLogger(__name__)

handler = WSGIHandler()  # its middlewares are loaded here, once


def django_answer(request: WSGIRequest) -> Answer:
    """Have Django answer, in this thread; what `WSGIHandler` does when it is called.

    The content is there whole before the first byte is sent, so that a client which stops reading
    holds no thread. There is nothing here that is too large for that.
    """
    try:
        set_script_prefix(get_script_name(request.environ))
        signals.request_started.send(sender=WSGIHandler, environ=request.environ)
        response = handler.get_response(request)
        response._handler_class = WSGIHandler  # type: ignore[attr-defined]
        try:
            return answer_of(response)
        finally:
            response.close()  # gives this thread's connection back
    except Exception:
        logger.exception("no answer could be made: path=%s", ascii(request.path_info))
        return FAILED


def answer_of(response: HttpResponseBase) -> Answer:
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    cookies = [(b"Set-Cookie", each.OutputString().encode()) for each in response.cookies.values()]
    return response.status_code, headers + cookies, b"".join(response)
