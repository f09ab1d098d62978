"""The database that the keys are in, together with all that operations write.

`IDEMPOTENCY["DATABASE"]` names it among the project's `DATABASES`. Everything of the app goes there
by `connection` and `atomic`; what authors read goes there while `reading_where_it_writes` lasts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from django.db import connections, models, router, transaction
from django.utils.connection import ConnectionProxy

from idempotency import conf

ALIAS = conf.database()

connection: Any = ConnectionProxy(connections, ALIAS)
atomic = partial(transaction.atomic, using=ALIAS)

reads_where_it_writes: ContextVar[bool] = ContextVar("reads_where_it_writes", default=False)
"""Whether `ReadsWhereItWrites` leads reads to where the same model is written."""


@contextmanager
def reading_where_it_writes() -> Iterator[None]:
    token = reads_where_it_writes.set(True)
    try:
        yield
    finally:
        reads_where_it_writes.reset(token)


class ReadsWhereItWrites:
    """The first of `DATABASE_ROUTERS` in a project that reads from replicas.

    A phase reads what the phase before it has committed, and a job what staged it: a replica may
    not have it yet. Everywhere else the project's own routers decide.
    """

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        if reads_where_it_writes.get() or connection.in_atomic_block:
            return router.db_for_write(model, **hints)
        return None
