"""Which rule of the database a write has broken, on whatever server the table lies."""

import re

from django.db import IntegrityError

NAMED = re.compile(r'constraint "(.+?)"')
OF_A_SHARD = re.compile(r"_\d{6,}$")


def constraint_of(error: IntegrityError) -> str:
    """Return its name: where a server hands on no more of another's error, from the message; and
    without the number that a shard's ends with.
    """
    cause = error.__cause__
    name: str | None = cause.diag.constraint_name  # type: ignore[union-attr]
    found = NAMED.search(str(cause))
    return OF_A_SHARD.sub("", name or (found[1] if found else ""))
