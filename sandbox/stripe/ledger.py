"""The objects that the stand-in holds: customers, payment methods, intents, charges, and what of
these goes back: refunds, disputes.

In the order of their creation, each as its JSON. What a call changes is committed as one, together
with the answer saved under its idempotency key, so that a restart sees all of a call or nothing.
"""

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sandbox.stripe.clock import CLOCK
from sandbox.stripe.errors import no_such

Resource = dict[str, Any]

KINDS = {
    "cus": "customer",
    "pm": "payment_method",
    "card": "payment_method",
    "pi": "payment_intent",
    "ch": "charge",
    "re": "refund",
    "du": "dispute",
}

PAYMENTS_KEPT_SECONDS = 3 * 24 * 3_600
"""A stand-in that runs for weeks removes what is older. Customers and their cards stay."""

LOOK_EVERY_COMMITS = 1_000
FORGET_AT_ONCE = 5_000

PUT = """
INSERT INTO object (id, kind, created, customer, payment_intent, body)
VALUES (:id, :kind, :created, :customer, :payment_intent, :body)
    ON CONFLICT (id) DO UPDATE SET customer = excluded.customer, body = excluded.body
"""

# The rows are in the order of their creation, so it reads no row that is younger, but for one.
FORGET_OLD_PAYMENTS = """
DELETE FROM object
 WHERE number IN (SELECT number FROM object
                   WHERE number < (SELECT number FROM object WHERE created >= :before
                                    ORDER BY number LIMIT 1)
                     AND kind <> 'customer'
                     AND NOT (kind = 'payment_method' AND customer IS NOT NULL)
                   ORDER BY number LIMIT :limit)
"""

AGE = """
UPDATE object
   SET created = created - :seconds, body = json_set(body, '$.created', created - :seconds)
"""

INDEXED = {"customer", "payment_intent"}


@dataclass(frozen=True, slots=True)
class Change:
    """What a call has made of an object; there was none before it where it is new."""

    before: Resource | None
    after: Resource

    @property
    def is_new(self) -> bool:
        return self.before is None

    def of(self, name: str) -> bool:
        """Say whether the field has another value than before."""
        return self.before is None or self.before.get(name) != self.after.get(name)


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


class Ledger:
    """Every object by kind and id; `put` changes one, `commit` makes the changes last."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self._store = store
        self._payments: list[str] = []
        self.tell: Callable[[list[Change]], None] | None = None
        """Whom to tell of what was committed, where somebody wants to know."""
        self._changes: list[Change] = []
        self._commits = 0
        self._is_aged = False

    def put(self, resource: Resource) -> None:
        if self.tell:
            self._changes.append(Change(self._find(resource["id"]), resource))
        row = {
            "id": resource["id"],
            "kind": resource["object"],
            "created": resource["created"],
            "customer": resource.get("customer"),
            "payment_intent": resource.get("payment_intent"),
            "body": json.dumps(resource),
        }
        self._store.execute(PUT, row)
        if resource["object"] in ("charge", "payment_intent"):
            self._payments.append(resource["id"])

    def get(self, kind: str, object_id: str, param: str = "id") -> Resource:
        """Return the object, or `Refused` naming the parameter (`id` is the URL's own)."""
        found = self._store.execute(
            "SELECT body FROM object WHERE id = ? AND kind = ?", (object_id, kind)
        ).fetchone()
        if found is None:
            raise no_such(kind, object_id, param)
        resource: Resource = json.loads(found[0])
        return resource

    def _find(self, object_id: str) -> Resource | None:
        query = "SELECT body FROM object WHERE id = ?"
        found = self._store.execute(query, (object_id,)).fetchone()
        return json.loads(found[0]) if found else None

    def look_up(self, object_id: str) -> Resource:
        """Return an object of any kind, by the prefix of its id."""
        return self.get(KINDS[object_id.partition("_")[0]], object_id)

    def newest_first(
        self, kind: str, *, before: str | None = None, **fields: str
    ) -> Iterator[Resource]:
        """Return the objects of a kind with those values in their fields, older than `before`."""
        query, values = "SELECT body FROM object WHERE kind = ?", [kind]
        for name, value in fields.items():
            column = name if name in INDEXED else f"json_extract(body, '$.{name}')"
            query += f" AND {column} = ?"
            values.append(value)
        if before is not None:
            query += " AND number < (SELECT number FROM object WHERE id = ?)"
            values.append(before)
        found = self._store.execute(f"{query} ORDER BY number DESC", values)
        return (json.loads(body) for [body] in found)

    def charges(self) -> Iterator[tuple[Resource, str | None]]:
        """Return every charge, oldest first, and the idempotency key of the call that made it."""
        found = self._store.execute(
            "SELECT body, charged_under FROM object WHERE kind = 'charge' ORDER BY number"
        )
        return ((json.loads(body), key) for body, key in found)

    def charged_under(self, object_id: str) -> str | None:
        """The idempotency key of the call that made a payment."""
        query = "SELECT charged_under FROM object WHERE id = ?"
        found = self._store.execute(query, (object_id,)).fetchone()
        return found[0] if found else None

    def commit(self, key: str | None) -> None:
        """Commit what the call changed, before it is answered.

        Args:
            key: the idempotency key of the call, which its payments are remembered by. A refund
                changes the charge later, under a key of its own.
        """
        for payment in self._payments:
            self._store.execute(
                "UPDATE object SET charged_under = ? WHERE id = ? AND charged_under IS NULL",
                (key, payment),
            )
        self._payments.clear()
        self._commits += 1
        # What was made older is a test's, which still looks at it.
        if self._commits % LOOK_EVERY_COMMITS == 0 and not self._is_aged:
            self._forget_old_payments()
        self._store.commit()
        changes, self._changes = self._changes, []
        if self.tell and changes:
            self.tell(changes)

    def age(self, seconds: int) -> None:
        """Have everything have been made so many seconds earlier."""
        self._store.execute(AGE, {"seconds": seconds})
        self._store.commit()
        self._is_aged = True

    def clear(self) -> None:
        self._payments.clear()
        self._changes.clear()
        self._is_aged = False
        self._store.execute("DELETE FROM object")
        self._store.commit()

    def _forget_old_payments(self) -> None:
        before = CLOCK.now() - PAYMENTS_KEPT_SECONDS
        self._store.execute(FORGET_OLD_PAYMENTS, {"before": before, "limit": FORGET_AT_ONCE})
