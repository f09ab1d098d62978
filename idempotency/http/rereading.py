"""What a request fails with is an answer; and a restart of the database need not be a failure."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import Error as DatabaseFailure

from idempotency.database import connection
from idempotency.database_errors import may_succeed_when_repeated, met_a_dead_connection
from idempotency.failures import answerable
from idempotency.transactions import drop_broken_connection


@contextmanager
def raising_answers() -> Iterator[None]:
    """Have whatever fails in the block raised as the `IdempotencyError` that a client gets for it.

    A SELECT outside of a transaction that met a dead connection is repeated, once, on a new one; or
    that the database refused for the sake of others, where sessions are SERIALIZABLE. For the whole
    of a request: else each connection that was kept over a restart of the server costs one client a
    503.
    """
    try:
        with connection.execute_wrapper(_read_again):
            yield
    except Exception as error:
        drop_broken_connection(error)
        answer = answerable(error)
        raise answer from answer.__cause__


def _read_again(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    wrapper, cursor = context["connection"], context["cursor"]
    try:
        return execute(sql, params, many, context)
    except DatabaseFailure as error:
        outside = wrapper.autocommit and not wrapper.in_atomic_block
        helps = met_a_dead_connection(error) or may_succeed_when_repeated(error)
        if not (outside and sql.lstrip().startswith("SELECT") and helps):
            raise
        drop_broken_connection(error)
    wrapper.ensure_connection()
    cursor.cursor = wrapper.create_cursor()
    return execute(sql, params, many, context)
