"""HTTP to Stripe by libcurl. Why it is ours: `docs/decisions/http-client.md`."""

import os
import threading
from collections.abc import Mapping
from io import BytesIO
from typing import Any
from weakref import WeakSet

import pycurl
import stripe
from django.utils.datastructures import CaseInsensitiveMapping

from idempotency import note_call

# A page of payments has some 300 KB. What does not end would be read until the time is up: 4.7 GB.
MAX_ANSWER_BYTES = 1024 * 1024

_own_handles: WeakSet[pycurl.Curl] = WeakSet()
_handles_lock = threading.Lock()
_left_to_the_parent: list[list[pycurl.Curl]] = []
"""Kept, so that no finalizer in a forked process ends a connection that its parent uses."""

NOT_TRUSTED = (pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CACERT_BADFILE)


class NotSendable(stripe.APIConnectionError):
    """What was to be sent cannot stand in a request's head: nothing was sent. It is ours to mend,
    after which the same request can be sent.
    """


class AnswerTooLong(stripe.APIConnectionError):
    """The answer had more than is read of one. The same request would have it again."""


class CurlClient(stripe.HTTPClient):
    """Sends what Stripe's client writes. Each thread keeps a handle, and so an open connection.

    Args:
        connect_timeout, call_timeout: seconds; the second for a whole call, connecting included,
            so that answers which trickle in do not prolong it.
    """

    name = "curl"

    def __init__(self, *, connect_timeout: float, call_timeout: float) -> None:
        super().__init__()
        self._connect_timeout = connect_timeout
        self._call_timeout = call_timeout
        self._handles = threading.local()

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        **_: Any,
    ) -> tuple[str, int, Mapping[str, str]]:
        """Raises: stripe.APIConnectionError, which says whether to try again; AnswerTooLong."""
        lines = _lines_of_head(url, headers or {})
        head, body = _Head(), _Body()
        curl = self._handle()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.HTTPHEADER, lines)
        curl.setopt(pycurl.HEADERFUNCTION, head.read_line)
        curl.setopt(pycurl.WRITEFUNCTION, body.take)
        _set_method(curl, method, post_data)
        try:
            curl.perform()
        except pycurl.error as error:
            note_call(error=f"libcurl {error.args[0]}")
            raise _connection_error(*error.args, is_too_long=body.is_too_long) from error
        status = curl.getinfo(pycurl.RESPONSE_CODE)
        fields: Mapping[str, str] = CaseInsensitiveMapping(head.fields)
        note_call(
            request_id=fields.get("Request-Id"),
            status=status,
            replayed=fields.get("Idempotent-Replayed") == "true" or None,
        )
        return body.text, status, fields

    def close(self) -> None:
        """Do nothing: a handle closes its connection when its thread ends."""

    def drop_connection(self) -> None:
        """Have this thread's next call open a connection of its own."""
        if self._has_handle():
            self._handles.curl.close()
            del self._handles.curl

    def _handle(self) -> pycurl.Curl:
        if not self._has_handle():
            self._handles.curl = self._new_handle()
            with _handles_lock:
                _own_handles.add(self._handles.curl)
        return self._handles.curl

    def _has_handle(self) -> bool:
        """Say whether this thread has a handle that this process opened."""
        return getattr(self._handles, "curl", None) in _own_handles

    def _new_handle(self) -> pycurl.Curl:
        curl = pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)  # signals and threads do not go together
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, round(self._connect_timeout * 1000))
        curl.setopt(pycurl.TIMEOUT_MS, round(self._call_timeout * 1000))
        # As bytes, since pycurl refuses a text with a letter that is not ASCII.
        curl.setopt(pycurl.CAINFO, os.fsencode(stripe.ca_bundle_path))
        return curl


# Parent and child would read each other's answers from one connection.


def _hold_handles() -> None:
    _handles_lock.acquire()
    _left_to_the_parent.append(list(_own_handles))


def _go_on_in_the_parent() -> None:
    _left_to_the_parent.pop()
    _handles_lock.release()


def _begin_in_the_child() -> None:
    _own_handles.clear()
    _handles_lock.release()


os.register_at_fork(
    before=_hold_handles,
    after_in_parent=_go_on_in_the_parent,
    after_in_child=_begin_in_the_child,
)


def _lines_of_head(url: str, headers: Mapping[str, str]) -> list[str]:
    """Return the fields as lines. A line end in one would end the field, or the whole head, and
    what follows would be read as a request of its own, with neither key nor length.

    Raises: NotSendable, which names what cannot be sent without its value, which may be a secret.
    """
    if not (url.isascii() and url.isprintable()):
        raise NotSendable("The address of the call has a character that no head can carry.")
    lines = []
    for name, value in headers.items():
        line = f"{name}: {value}"
        if not (line.isascii() and line.isprintable()):
            raise NotSendable(f"The field {name!a} has a character that no head can carry.")
        lines.append(line)
    return lines


class _Head:
    """The fields of an answer's head, as libcurl hands them over: line by line."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}

    def read_line(self, line: bytes) -> None:
        name, colon, value = line.decode("iso-8859-1").partition(":")
        if colon:
            self.fields[name] = value.strip()


class _Body:
    """An answer's body as far as it is read: one that is longer is no answer."""

    def __init__(self) -> None:
        self._read = BytesIO()
        self.is_too_long = False

    @property
    def text(self) -> str:
        return self._read.getvalue().decode(errors="replace")

    def take(self, part: bytes) -> int | None:
        """Return 0 to have libcurl end the call and close the connection; None to go on."""
        if self._read.tell() + len(part) > MAX_ANSWER_BYTES:
            self.is_too_long = True
            return 0
        self._read.write(part)
        return None


def _set_method(curl: pycurl.Curl, method: str, post_data: Any) -> None:
    if method == "post":
        # By a function that can't start over. A text libcurl could read again, and send a
        # second time by itself where a kept connection breaks; how often a call is sent is for
        # `max_network_retries` to say.
        content = (post_data or "").encode()
        curl.setopt(pycurl.POST, 1)
        curl.setopt(pycurl.POSTFIELDSIZE, len(content))
        curl.setopt(pycurl.READFUNCTION, BytesIO(content).read)
        curl.unsetopt(pycurl.CUSTOMREQUEST)
        return
    curl.setopt(pycurl.HTTPGET, 1)
    if method == "get":
        curl.unsetopt(pycurl.CUSTOMREQUEST)
    else:
        curl.setopt(pycurl.CUSTOMREQUEST, method.upper())


def _connection_error(code: int, message: str, *, is_too_long: bool) -> stripe.APIConnectionError:
    """Anything but a certificate, and an answer without an end, may be different the next time, and
    the key makes that safe.
    """
    if is_too_long:
        return AnswerTooLong(f"Stripe's answer has more than {MAX_ANSWER_BYTES} bytes.")
    return stripe.APIConnectionError(
        f"Stripe was not reached, or its answer not received: {message} (libcurl {code}).",
        should_retry=code not in NOT_TRUSTED,
    )
