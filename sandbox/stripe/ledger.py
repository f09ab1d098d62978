"""The objects that the stand-in holds: customers, payment methods, intents, charges, refunds.

They live in memory in the order of their creation. What a call changes is collected and goes to the
journal as one entry, together with the answer saved under its idempotency key, so that a restart
sees all of a call or nothing of it.
"""

import secrets
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from sandbox.stripe.errors import no_such
from sandbox.stripe.idempotency import SavedAnswer
from sandbox.stripe.journal import Entry, Journal

Resource = dict[str, Any]

KINDS = {
    "cus": "customer",
    "pm": "payment_method",
    "card": "payment_method",
    "pi": "payment_intent",
    "ch": "charge",
    "re": "refund",
}


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


class Ledger:
    """Every object by kind and id; `put` changes one, `commit` makes the changes last."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._objects: dict[str, dict[str, Resource]] = {}
        self._changed: dict[str, Resource] = {}
        self.charged_under: dict[str, str] = {}  # charge id -> idempotency key
        self.clear()

    def put(self, resource: Resource) -> None:
        self._objects[resource["object"]][resource["id"]] = resource
        self._changed[resource["id"]] = resource

    def get(self, kind: str, object_id: str, param: str = "id") -> Resource:
        """The object, or `Refused` naming the parameter (`id` is the URL's own)."""
        found = self._objects[kind].get(object_id)
        if found is None:
            raise no_such(kind, object_id, param)
        return found

    def look_up(self, object_id: str) -> Resource:
        """An object of any kind, by the prefix of its id."""
        return self.get(KINDS[object_id.partition("_")[0]], object_id)

    def newest_first(self, kind: str) -> Iterator[Resource]:
        return reversed(self._objects[kind].values())

    def oldest_first(self, kind: str) -> Iterator[Resource]:
        return iter(self._objects[kind].values())

    def commit(self, answer: SavedAnswer | None) -> None:
        """Write what the call changed, and its saved answer, before anyone is told of it."""
        if not self._changed and answer is None:
            return
        objects = list(self._changed.values())
        self._changed.clear()
        self._note_keys(objects, answer.key if answer else None)
        saved = asdict(answer) if answer else None
        self._journal.append({"objects": objects, "answer": saved})

    def absorb(self, entry: Entry) -> None:
        """Replay one entry of the journal."""
        objects = entry.get("objects", [])
        for resource in objects:
            self._objects[resource["object"]][resource["id"]] = resource
        answer = entry.get("answer")
        self._note_keys(objects, answer["key"] if answer else None)

    def clear(self) -> None:
        self._objects = {kind: {} for kind in KINDS.values()}
        self._changed.clear()
        self.charged_under.clear()

    def _note_keys(self, objects: list[Resource], key: str | None) -> None:
        if key is None:
            return
        for resource in objects:
            if resource["object"] == "charge":
                # A refund changes the charge later, under a key of its own.
                self.charged_under.setdefault(resource["id"], key)
