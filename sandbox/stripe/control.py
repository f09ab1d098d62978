"""The Python client of the control API, for tests and demos.

stand_in = StandIn("http://127.0.0.1:12111")
stand_in.add_fault("reset_after", times=1)
...
assert len(stand_in.charges(status="succeeded")) == 1
"""

import json
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

TIMEOUT_SECONDS = 10.0


class ControlError(Exception):
    """The stand-in refused a control call; the message is its own."""


@dataclass(frozen=True)
class StandIn:
    """A running stand-in; `pid` is known when `running_stand_in` started it."""

    base_url: str
    pid: int | None = None

    def add_fault(
        self,
        kind: str,
        *,
        times: int | None = None,
        share: float | None = None,
        seed: int = 0,
        seconds: float | None = None,
        path: str | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Make calls fail in the way of `kind` (`sandbox.stripe.faults.FaultKind`).

        Without `times` and `share`, every call from now on; `times`, the next so many; `share`,
        that part of the calls, 0 to 1, drawn from `seed`. `seconds` is the length of a latency or a
        stall, or the `Retry-After` of a rate limit. `path` narrows to a prefix, with or without a
        method: `"POST /v1/payment_intents"`.

        Raises:
            ControlError: there is no such fault.
        """
        given = {
            "kind": kind,
            "times": times,
            "share": share,
            "seed": seed,
            "seconds": seconds,
            "path": path,
            "idempotency_key": idempotency_key,
        }
        fault = {name: value for name, value in given.items() if value is not None}
        return self._call("POST", "faults", fault)

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults in force, each with how often it has `fired`."""
        return self._list("faults", "faults")

    def clear_faults(self) -> None:
        self._call("DELETE", "faults")

    def charges(self, status: str | None = None) -> list[dict[str, Any]]:
        """Return every charge attempted, oldest first, with the `idempotency_key` of its call."""
        query = "?" + urlencode({"status": status}) if status else ""
        return self._list(f"charges{query}", "charges")

    def payment_intents(self) -> dict[str, Any]:
        """`count`, and the counts `by_status`; their statuses `by_key`, the `foreign_key` in their
        metadata; the ids of those that wait for a bank, as `waiting`; and as `each`, the newest
        first, the `id`, `status`, `created`, `customer` and `foreign_key` of all.
        """
        return self._call("GET", "payment_intents")

    def settle(self, object_id: str, *, succeeds: bool) -> str:
        """End a payment, refund or dispute that is under way, as a bank or a rider does.

        A dispute succeeds for us where it is won. A refund that succeeded may still fail.

        Returns: the status that it has then.

        Raises:
            ControlError: it is not under way.
        """
        settled = self._call("POST", "settle", {"id": object_id, "succeeds": succeeds})
        status: str = settled["status"]
        return status

    def dispute(self, charge_id: str, *, status: str = "needs_response") -> str:
        """Have the rider's bank dispute a charge; return the dispute's id, for `settle`.

        Raises:
            ControlError: there is no such charge that succeeded.
        """
        disputed: str = self._call("POST", "disputes", {"charge": charge_id, "status": status})[
            "id"
        ]
        return disputed

    def refund(
        self, charge_id: str, *, amount: int | None = None, status: str | None = "succeeded"
    ) -> str:
        """Refund a charge in the dashboard, whole or in part; return the refund's id. Its status
        may be None, as Stripe's reference has it.

        Raises:
            ControlError: there is no such charge, or not so much is left of it.
        """
        asked = {"charge": charge_id, "amount": amount, "status": status}
        refunded: str = self._call("POST", "refunds", asked)["id"]
        return refunded

    def send_events_to(self, url: str, *secrets: str, retry_seconds: float = 0.1) -> None:
        """Send an event of every change from now on, until the next reset.

        Args:
            secrets: what each is signed with; two in a rotation.
            retry_seconds: the first pause after an answer that is not 2xx, doubled each time.
        """
        endpoint = {"url": url, "secrets": secrets, "retry_seconds": retry_seconds}
        self._call("POST", "endpoint", endpoint)

    def events(self, type_: str = "") -> list[dict[str, Any]]:
        """Return the latest events whose type begins so: `id`, `type`, the `object` that each is
        of, the statuses of its `answers`, 0 where nothing answered, and whether it `is_delivered`.
        """
        return [
            event for event in self._list("events", "events") if event["type"].startswith(type_)
        ]

    def send_event_again(self, event_id: str) -> None:
        """Send an event once more, as somebody does in the dashboard.

        Raises:
            ControlError: there is none of that id.
        """
        self._call("POST", "events", {"id": event_id})

    def calls(self) -> dict[str, Any]:
        """Since the start or the last reset: `calls` by method and path, `replays`, `mismatches`.

        A mismatch is a key that was sent with another question than its first.
        """
        return self._call("GET", "calls")

    def prune_keys(self, older_than_seconds: float = 0) -> int:
        """Remove the idempotency keys older than that, as Stripe may after 24 hours; how many."""
        pruned: int = self._call("POST", "prune", {"older_than_seconds": older_than_seconds})[
            "pruned"
        ]
        return pruned

    def let_time_pass(self, seconds: int) -> None:
        """Have all that Stripe has, its answers to keys included, be so many seconds older.

        A negative number makes it younger, as it is to a clock that was set back.
        """
        self._call("POST", "age", {"seconds": seconds})

    def set_clock(self, ahead_seconds: float) -> None:
        """Let Stripe's clock be so many seconds ahead of this machine's; negative: behind it."""
        self._call("POST", "clock", {"ahead_seconds": ahead_seconds})

    def reset(self) -> None:
        """Remove everything: objects, keys, faults, counts, how the clock was set."""
        self._call("POST", "reset")

    def is_healthy(self) -> bool:
        try:
            return self._call("GET", "health")["status"] == "ok"
        except (OSError, HTTPException, ControlError):
            return False

    def _list(self, path: str, name: str) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self._call("GET", path)[name]
        return listed

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        connection = HTTPConnection(urlsplit(self.base_url).netloc, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, f"/_sandbox/{path}", json.dumps(body) if body else None)
            response = connection.getresponse()
            reply: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ControlError(reply["error"])
        return reply
