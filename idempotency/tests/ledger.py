"""The bookshop's payment provider: a real HTTP server, and what a client of it must know.

It is the foreign system of these tests. It recognises an idempotency key, fails on demand, and
can let a test act while a call is in the air, so that no test has to guess at moments.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from unittest.mock import patch
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from django.conf import settings
from django.db import connections

from idempotency import Indeterminate

PATIENCE_SECONDS = 10


class Fault(Enum):
    """What can go wrong with one call. A payment stands after those that say so."""

    DECLINE = auto()
    ERROR_BEFORE = auto()
    ERROR_AFTER = auto()
    RESET_AFTER = auto()
    PENDING = auto()


class Declined(Exception):
    """A definite no: nothing was paid and nothing will be."""


@contextmanager
def lose_answer() -> Iterator[None]:
    """Let the client hang up after its call was carried out: in whichever process it runs."""
    call_and_wait = urlopen

    def hang_up(*call: Any, **options: Any) -> None:
        call_and_wait(*call, **options).close()
        raise ConnectionResetError

    with patch(f"{__name__}.urlopen", hang_up):
        yield


# The client.


def pay(amount_cents: int, *, key: Any) -> str:
    """Pay once for a key, and return the payment's id.

    Raises: `Declined`, or `Indeterminate` where nobody knows.
    """
    return _call("POST", f"/payments/{key}", {"amount_cents": amount_cents})["id"]


def find_payment(*, key: Any) -> str | None:
    """The id of the payment that was made for a key, or None. Raises: `Indeterminate`."""
    return _call("GET", f"/payments/{key}")["id"]


def transfer(amount_cents: int, *, key: Any) -> dict[str, str]:
    """Pay by a way that may take its time; return the payment's `id` and `status`.

    Raises: `Indeterminate`.
    """
    return _call("POST", f"/payments/{key}", {"amount_cents": amount_cents})


def read_transfer(*, key: Any) -> dict[str, str]:
    """Return `id` and `status` of a payment; both None where there is none."""
    return _call("GET", f"/payments/{key}")


def cancel_transfer(*, key: Any) -> dict[str, str]:
    """Cancel a payment that is pending; return what it is then, which may be something else."""
    return _call("POST", f"/cancellations/{key}", {})


def give_back(*, key: Any) -> str | None:
    """Refund what was paid under a key, once; return the payment's id, or None without any."""
    return _call("POST", f"/refunds/{key}", {})["id"]


def announce(title: str) -> None:
    """Tell the world: a call without any idempotency, for a job to be in the middle of."""
    _call("POST", "/announcements", {"title": title})


def _call(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = Request(settings.LEDGER_URL + path, data=data, method=method)
    try:
        with urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return json.load(answer)
    except HTTPError as error:
        if error.code == 402:
            raise Declined("Your card was declined.") from error
        raise Indeterminate(f"The ledger answered {error.code}.") from error
    except OSError as error:
        raise Indeterminate("The ledger did not answer.") from error


# The server.


@dataclass
class Ledger:
    """What the server knows, and what it will do next. Faults and actions serve one call each."""

    url: str
    payments: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    actions: list[tuple[Callable[[], Any], Future[Any]]] = field(default_factory=list)
    by_key: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def meanwhile(self, action: Callable[[], Any]) -> Future[Any]:
        """Let `action` happen after the next call was carried out and before it is answered."""
        outcome: Future[Any] = Future()
        self.actions.append((action, outcome))
        return outcome

    def settle(self, status: str) -> None:
        """Have what is pending end: `succeeded`, `failed`; or be `fixed`, which nobody cancels."""
        for payment in self.payments:
            if payment["status"] == "pending":
                payment["status"] = status

    def forget_keys(self) -> None:
        """As Stripe may after 24 hours: whoever sends a key again pays again."""
        self.by_key.clear()

    def forget_everything(self) -> None:
        self.payments.clear()
        self.by_key.clear()
        self.calls.clear()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any] | None:
        """Carry a call out and returns status and body, or None to break the connection off."""
        with self.lock:
            self.calls.append(f"{method} {path.split('/')[1]}")
            fault = self.faults.pop(0) if self.faults else None
            answer = self._carry_out(method, path, body, fault)
            action = self.actions.pop(0) if self.actions else None
        if action:
            _act(*action)
        return answer

    def _carry_out(
        self, method: str, path: str, body: dict[str, Any], fault: Fault | None
    ) -> tuple[int, Any] | None:
        key = path.rpartition("/")[2]
        if fault is Fault.DECLINE and method == "POST" and key not in self.by_key:
            return 402, {}  # what was paid is not declined afterwards
        if fault is Fault.ERROR_BEFORE:
            return 500, {}
        if path == "/announcements":
            return 200, {}
        if method == "GET":
            found = [payment for payment in self.payments if payment["key"] == key]
            return 200, found[0] if found else {"id": None, "status": None}
        if path.startswith("/cancellations/"):
            payment = next(payment for payment in self.payments if payment["key"] == key)
            if payment["status"] == "pending":
                payment["status"] = "canceled"
            return 200, payment
        if path.startswith("/refunds/"):
            paid = self.by_key.get(key, {"id": None})
            paid["status"] = "refunded"
            return (500, {}) if fault is Fault.ERROR_AFTER else (200, paid)
        if key not in self.by_key:
            status = "pending" if fault is Fault.PENDING else "succeeded"
            number = len(self.payments) + 1
            self.by_key[key] = {"id": f"payment-{number}", "key": key, "status": status, **body}
            self.payments.append(self.by_key[key])
        if fault is Fault.RESET_AFTER:
            return None
        return (500, {}) if fault is Fault.ERROR_AFTER else (200, self.by_key[key])


def _act(action: Callable[[], Any], outcome: Future[Any]) -> None:
    try:
        outcome.set_result(action())
    except BaseException as error:
        outcome.set_exception(error)
    finally:
        connections.close_all()


@contextmanager
def running_ledger() -> Iterator[Ledger]:
    """A ledger on a port of its own, in a thread of this process."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers["Content-Length"] or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            answer = ledger.answer(self.command, self.path, body)
            if answer is None:
                return
            text = json.dumps(answer[1]).encode()
            self.send_response(answer[0])
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = answer  # noqa: N815 - the names are those of http.server

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        ledger = Ledger(f"http://127.0.0.1:{server.server_port}")
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield ledger
        server.shutdown()
