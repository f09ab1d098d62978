"""Which rule of the database a write has broken, on whatever server the table lies."""

import re

from django.db import IntegrityError

NAMED = re.compile(r'constraint "(.+?)(?:_\d{6,})?"')
"""In the message, where a server hands on no more of another's error. There a shard's number ends
it."""


def constraint_of(error: IntegrityError) -> str | None:
    cause = error.__cause__
    name: str | None = cause.diag.constraint_name  # type: ignore[union-attr]
    if name is None and (found := NAMED.search(str(cause))):
        return found[1]
    return name
