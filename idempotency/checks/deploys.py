"""Recovery points outlive a deploy: which keys in flight this code can go on with, and which not.

`manage.py check --database default` runs these before a deploy goes live. A key at a point that the
code does not handle is not lost: it is parked until some code does.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.db.utils import ProgrammingError

from idempotency.database import ALIAS
from idempotency.exceptions import Parked
from idempotency.models import FINISHED
from idempotency.operations import all_operations, operation_named

# By the partial index on unfinished keys, so it costs what is in flight and not what is stored.
FIND_POINTS_IN_FLIGHT = f"""
SELECT operation, recovery_point, count(*), (array_agg(id ORDER BY id))[:%(most)s]
  FROM idempotency_idempotencykey
 WHERE recovery_point <> '{FINISHED}'
 GROUP BY operation, recovery_point
 ORDER BY operation, recovery_point
"""  # noqa: S608

MOST_NAMED = 20

OF_BEFORE = ("idempotency", "0002_tombstones")
"""A migration that only a database from before the first release has gone through."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """Unfinished keys of one operation at one recovery point."""

    operation: str
    recovery_point: str
    count: int
    ids: list[int]

    @property
    def named(self) -> str:
        more = f" and {self.count - len(self.ids)} more" if self.count > len(self.ids) else ""
        return ", ".join(map(str, self.ids)) + more


@register(Tags.database)
def check_migrations(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Say that the database is behind the code, but to `migrate`, which runs this check first."""
    if sys.argv[1:2] == ["migrate"]:
        return []
    plans = {alias: unapplied_migrations(alias) for alias in {ALIAS}.intersection(databases or [])}
    return [
        Warning(
            f"The database {alias!r} lacks {len(plan)} migration(s) of this code: the API is not "
            "ready, and the workers wait.",
            hint="manage.py migrate",
            id="idempotency.W052",
        )
        for alias, plan in plans.items()
        if plan
    ]


@register(Tags.database)
def check_first_release(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Refuse what the first release's migrations would take for their own, by their names.

    No later release asks for it: from the first one on, a schema is brought forward.
    """
    if ALIAS not in (databases or []):
        return []
    if OF_BEFORE not in MigrationRecorder(connections[ALIAS]).applied_migrations():
        return []
    return [
        Error(
            f"The database {ALIAS!r} was made before the first release, and no migration leads "
            "from there to this code.",
            hint="Begin again with an empty one: drop it, create it, and run manage.py migrate.",
            id="idempotency.E056",
        )
    ]


def unapplied_migrations(alias: str) -> Sequence[object]:
    executor = MigrationExecutor(connections[alias])
    return executor.migration_plan(executor.loader.graph.leaf_nodes())


@register(Tags.database)
def check_keys_in_flight(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Name the keys that this code would park, and the retired phases that nothing needs."""
    messages: list[CheckMessage] = []
    for alias in {ALIAS}.intersection(databases or []):
        in_flight = list(points_in_flight(alias))
        messages += [_stranded(group) for group in in_flight if not is_handled(group)]
        messages += _phases_to_remove({group.recovery_point for group in in_flight})
    return messages


def points_in_flight(alias: str) -> Iterator[InFlight]:
    """Return where the unfinished keys stand; nothing where the tables are not there yet."""
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute(FIND_POINTS_IN_FLIGHT, {"most": MOST_NAMED})
            yield from (InFlight(*row) for row in cursor.fetchall())
    except ProgrammingError:
        return


def is_handled(group: InFlight) -> bool:
    """Say whether the operation of that name has a phase for the point."""
    try:
        operation = operation_named(group.operation)
    except Parked:
        return False
    return operation.phase_at(group.recovery_point) is not None


def _stranded(group: InFlight) -> CheckMessage:
    return Error(
        f"{group.count} unfinished request(s) of {group.operation!r} stand at "
        f"{group.recovery_point!r}, which this code does not handle: {group.named}.",
        hint="They would be parked. Give the phase, or the operation, its former name in "
        "renamed_from, or keep the phase, retired=True, until they are through.",
        id="idempotency.E008",
    )


def _phases_to_remove(points: set[str]) -> list[CheckMessage]:
    return [
        Info(
            f"No request stands at the retired point {phase.recovery_point!r} of "
            f"{operation.__qualname__} any more.",
            hint=f"The phase {phase.name} can be removed.",
            obj=operation,
            id="idempotency.I001",
        )
        for operation in all_operations()
        for phase in operation.phases()
        if phase.retired and not any(phase.starts_from(point) for point in points)
    ]
