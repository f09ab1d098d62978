"""The statements that every request runs: planned once for a connection, not each time.

psycopg2 sends a statement as one text, which PostgreSQL parses and plans anew each time. SQL's own
PREPARE does that once in a session, which saves three tenths of what PostgreSQL does for a request.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import count
from typing import Any, Self
from weakref import WeakKeyDictionary

from django.db.backends.utils import CursorWrapper

from idempotency import conf

_PARAMETER = re.compile(r"%\((\w+)\)s")
_EXECUTED = re.compile(r"EXECUTE (idempotency_[0-9a-f]+)_")

# The names of what a session has prepared, by the texts. By the driver's connection, since that is
# what a session of the server lives and dies with.
_prepared: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()
_texts: dict[str, str] = {}
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class _Statement:
    """A statement as SQL's PREPARE and EXECUTE want it."""

    name: str
    numbered: str
    values: str

    @classmethod
    @cache
    def of(cls, text: str) -> Self:
        parameters = list(dict.fromkeys(_PARAMETER.findall(text)))
        numbered = _PARAMETER.sub(lambda found: f"${parameters.index(found[1]) + 1}", text)
        values = ", ".join(f"%({name})s" for name in parameters)
        name = f"idempotency_{sha256(text.encode()).hexdigest()[:16]}"
        _texts[name] = text
        return cls(name, numbered.replace("%%", "%"), f"({values})" if values else "")


def run(cursor: CursorWrapper, statement: str, values: Mapping[str, Any]) -> None:
    """Runs a statement with named parameters; prepared, where `PREPARED_STATEMENTS` is on.

    Args:
        statement: its text must not depend on the request, since each text stays planned. A
            parameter has the type that its place asks for; where any would do, it is cast. One
            that is a list goes into `= ANY(…)`, not into `IN`.
    """
    if not conf.current().prepared_statements:
        cursor.execute(statement, values)
        return
    prepared = _Statement.of(statement)
    names = _prepared.setdefault(cursor.cursor.connection, {})
    if statement not in names:
        # A name is used once: whoever is interrupted here does not know whether it is taken.
        name = f"{prepared.name}_{next(_numbers)}"
        cursor.execute(f"PREPARE {name} AS {prepared.numbered}")
        names[statement] = name
    cursor.execute(f"EXECUTE {names[statement]} {prepared.values}", values)


def text_of(sent: str) -> str:
    """The statement that an EXECUTE of ours stands for. Any other text is itself."""
    executed = _EXECUTED.match(sent)
    return _texts.get(executed[1], sent) if executed else sent
