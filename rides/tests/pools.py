"""A pool of connections in a test, as `DATABASE_POOL_SIZE` has it for the driver that is there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dj_db_conn_pool.core import pool_container
from django.db import ConnectionHandler, connection
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from rocketrides.database import share_connections


@contextmanager
def pool_of_one(*, patience_seconds: float, **changes: Any) -> Iterator[ConnectionHandler]:
    """Each thread that asks for "default" gets a connection of one pool, which has a single one.

    Args:
        patience_seconds: how long a thread waits for it.
        changes: what else differs from the database's settings.
    """
    settings = {**connection.settings_dict, **changes}
    share_connections(settings, 1, patience_seconds=patience_seconds)
    handler = ConnectionHandler({"default": settings})
    try:
        yield handler
    finally:
        handler["default"].close()
        if is_psycopg3:
            handler["default"].close_pool()
        else:
            pool_container.pop("default").dispose()


def connections_in_use(pooled: Any) -> int:
    """Count what threads hold of the pool of a connection."""
    if is_psycopg3:
        stats = pooled.pool.get_stats()
        return int(stats["pool_size"] - stats["pool_available"])
    return int(pool_container.get("default").checkedout())
