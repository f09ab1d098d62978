"""Which cell a thread works in, where one process works in several.

A cell is a schema with all tables of a service, for some of its users. A process of one cell has
its schema by its connection's settings, and nothing of this file is in use. A worker of several has
threads, each in a cell from its beginning to its end: what it reads and writes goes there, and what
the process remembers of a database it remembers for each.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from idempotency.database import ALIAS
from idempotency.support.context import IN_CELL

NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
"""What PostgreSQL takes for a schema's name without quotes."""


@contextmanager
def in_cell(cell: str) -> Iterator[None]:
    """Have this thread work in a cell, by a connection of its own for the block.

    The `search_path` is an option with which the session begins, so there is no moment in which it
    is in another schema, and a connection that was lost comes back in the same one.

    Args:
        cell: its schema; an empty one changes nothing.

    Raises: `ImproperlyConfigured` for a name that is none, and where a pool hands connections to
    all threads alike.
    """
    if cell in ("", IN_CELL.get()):
        yield
        return
    own, before = _connection_to(cell), connections[ALIAS]
    connections[ALIAS] = own
    token = IN_CELL.set(cell)
    try:
        yield
    finally:
        own.close()
        IN_CELL.reset(token)
        connections[ALIAS] = before


def _connection_to(cell: str) -> Any:
    if not NAME.fullmatch(cell):
        raise ImproperlyConfigured(f"{cell!r} is no name of a schema.")
    own = connections.create_connection(ALIAS)
    options = own.settings_dict["OPTIONS"]
    if "pool" in options or "POOL_OPTIONS" in own.settings_dict:
        raise ImproperlyConfigured(
            "A pool hands connections to all threads alike: a worker of several cells has none."
        )
    said = f"{options.get('options') or ''} -c search_path={cell}".strip()
    own.settings_dict = {**own.settings_dict, "OPTIONS": {**options, "options": said}}
    return own
