"""What a foreign system recognises a request by: derived from the request, never drawn.

A failover or a restore can lose a request's rows. Its client's retry then asks the foreign system
the same question all the same, because the question's key is made of nothing that was lost.
"""

from typing import Any
from uuid import UUID, uuid5

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from idempotency import conf
from idempotency.database import ALIAS
from idempotency.models import ForeignKeyNamespace
from idempotency.phases import ForeignPhase
from idempotency.support.context import IN_CELL

DRAWN = 4
"""The version of a UUID that was drawn, as earlier releases had it; a derived one is version 5."""


def foreign_key_for(user: Any, idempotency_key: str) -> UUID:
    """Derive the foreign key of a user's request.

    Nested, so that no two users' texts can meet: a user's name and a client's key are never one
    text.
    """
    return uuid5(uuid5(_namespace(), _text_of(user)), idempotency_key)


def phase_key(foreign_key: UUID, phase: ForeignPhase) -> UUID:
    """Derive the key that one foreign phase of a request sends.

    By the first name that its recovery point ever had: a rename must not ask anew. A drawn key is
    sent as it is, because the release that drew it has already sent it so.
    """
    if foreign_key.version == DRAWN:
        return foreign_key
    return uuid5(foreign_key, phase.first_name)


def question_key(key: UUID, number: int) -> UUID:
    """Derive the key of a phase's question that a person has had asked anew; 0 is the first one."""
    return uuid5(key, str(number)) if number else key


def installation_mark() -> str:
    """What tells this installation's requests from another's at the same foreign system.

    It is to be sent with them, and never changes: the text of the namespace.
    """
    return str(_namespace())


def know_namespace() -> None:
    """Read, once, what the foreign keys of this thread's cell are derived from, where the process
    works in several. To be called before anything is derived.

    Raises: `ImproperlyConfigured` where the cell has no such row, so it is not migrated yet; and
    where the session is not in the cell.
    """
    cell = IN_CELL.get()
    if cell and cell not in _of_cells:
        _refuse_another_schema(cell)
        kept = kept_namespace()
        if kept is None:
            raise ImproperlyConfigured(f"The cell {cell!r} has no namespace: migrate it first.")
        _of_cells[cell] = kept


_of_cells: dict[str, UUID] = {}


def _refuse_another_schema(cell: str) -> None:
    """A PgBouncer that ignores startup options drops them without a word, and all threads would
    work in one schema.
    """
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        [schema] = cursor.fetchone()
    if schema != cell:
        raise ImproperlyConfigured(
            f"A session that was to begin in the cell {cell!r} is in {schema or 'no schema'}: "
            "there is no such schema, or a pooler has dropped the session's options."
        )


def kept_namespace() -> UUID | None:
    """Return the namespace that the database's keys were derived from since it was made; None where
    none is kept.
    """
    return ForeignKeyNamespace.objects.using(ALIAS).values_list("namespace", flat=True).first()


def another_namespace() -> UUID | None:
    """Return the namespace that the database keeps where it is not the one of the settings."""
    configured, kept = conf.current().foreign_key_namespace, kept_namespace()
    return None if configured is None or kept == configured else kept


def keep_namespace(*, using: str, **_: Any) -> None:
    """Write down, after the first `migrate`, what this database's foreign keys are derived from:
    for workers of several cells, and for a check that nobody derives them from another.
    """
    namespace = conf.current().foreign_key_namespace
    if using != ALIAS or namespace is None:
        return
    table = ForeignKeyNamespace._meta.db_table
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [table])
        if cursor.fetchone() == (True,):
            cursor.execute(KEEP_NAMESPACE, [namespace])


KEEP_NAMESPACE = """
INSERT INTO idempotency_foreignkeynamespace (id, namespace) VALUES (1, %s) ON CONFLICT DO NOTHING
"""


def _namespace() -> UUID:
    """What the settings say; in a process of several cells, what each one's database keeps."""
    cell = IN_CELL.get()
    namespace = _of_cells[cell] if cell else conf.current().foreign_key_namespace
    if namespace is None:
        raise ImproperlyConfigured(
            "IDEMPOTENCY['FOREIGN_KEY_NAMESPACE'] is not set: without it a request has no foreign "
            "key."
        )
    return namespace


def _text_of(user: Any) -> str:
    field = conf.current().foreign_key_user_field
    value = getattr(user, field)
    if value in (None, ""):
        raise ImproperlyConfigured(
            f"FOREIGN_KEY_USER_FIELD names {field!r}, which is empty for the user of this request."
        )
    return str(value)
