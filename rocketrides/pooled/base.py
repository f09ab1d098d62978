"""PostgreSQL by a pool of connections, which a process's threads share: `DATABASE_POOL_SIZE`.

A thread that waits for Stripe needs no connection, so a few serve many. This is the package's
backend, with its answers to two troubles: no connection is free, and the server has gone away.
"""

import os
import threading
from typing import Any

from dj_db_conn_pool.backends.postgresql.base import DatabaseWrapper as PooledWrapper
from dj_db_conn_pool.core import pool_container
from sqlalchemy.exc import TimeoutError as PoolTimeout


class DatabaseWrapper(PooledWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Raises: OperationalError for a wait in vain, so that it is answered with a 503."""
        try:
            return super().get_new_connection(conn_params)
        except PoolTimeout as error:
            raise self.Database.OperationalError("no connection of the pool came free") from error

    def close(self) -> None:
        """Back to the pool; or out of it where the server ended it, with all that are as old.

        They were ended with it, and each would fail a request before that was noticed.
        """
        if self.connection is not None and self.connection.driver_connection.closed:
            self.connection._pool._invalidate(self.connection)
        super().close()


_pools_of_the_parent: list[Any] = []


def begin_with_no_pool() -> None:
    """In a forked process: its pool is a new one, and the parent's is left alone, never closed."""
    _pools_of_the_parent.extend(pool_container.values())
    pool_container.clear()
    pool_container.lock = threading.Lock()  # another thread of the parent's may hold the old one


os.register_at_fork(after_in_child=begin_with_no_pool)
