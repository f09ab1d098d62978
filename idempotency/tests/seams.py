"""The places of the library in which bugs are planted, each named once.

Open it when a planted bug finds no place any more: a move in the heart is followed here, and for
the proofs in `proof/bugs/seams.py`.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from idempotency import failures, transactions
from idempotency.attempts import Attempt
from idempotency.http import rereading, views
from idempotency.operations import Operation
from idempotency.support import described, kept_values, positions


class Seam(NamedTuple):
    """An attribute of a module, a class or a phase: `monkeypatch.setattr(*seam, new)`."""

    owner: Any
    name: str

    @property
    def value(self) -> Any:
        return getattr(self.owner, self.name)


# An attempt and its memory.
MAKE_ANEW = Seam(Attempt, "_make_anew")
READ_INSTANCES_ANEW = Seam(Operation, "read_instances_anew")
WRITTEN_AS_TEXT = Seam(kept_values, "_WRITTEN_AS_TEXT")

# The door.
READ_BODY = Seam(views, "read_bytes")
CLEAN_TRANSIENT = Seam(views, "clean_transient")

# Errors, and the connection after one.
DESCRIBE_DATABASE_ERROR = Seam(described, "_database_error")
DROP_CONNECTION = Seam(transactions, "drop_broken_connection")
DROP_CONNECTION_OF_A_REQUEST = Seam(rereading, "drop_broken_connection")
DROP_CONNECTION_OF_A_FAILURE = Seam(failures, "drop_broken_connection")

# The workers' looks.
LOOK_AT_ALL_EVERY_SECONDS = Seam(positions, "LOOK_AT_ALL_EVERY_SECONDS")
LOOK_AT_ALL_SHARE = Seam(positions, "LOOK_AT_ALL_SHARE")


def seams_of(module: ModuleType) -> dict[str, Seam]:
    return {name: seam for name, seam in vars(module).items() if isinstance(seam, Seam)}


def used_in(files: Iterable[Path]) -> set[str]:
    """Return the names of the seams that the files' text speaks of."""
    return {name for file in files for name in re.findall(r"\bseams\.([A-Z]\w+)", file.read_text())}
