"""PostgreSQL by a pool of connections, which a process's threads share: `DATABASE_POOL_SIZE`.

A thread that waits for Stripe needs no connection, so a few serve many. This is the package's
backend, but that a wait in vain is an error of the database, as which it is answered with a 503.
"""

from typing import Any

from dj_db_conn_pool.backends.postgresql.base import DatabaseWrapper as PooledWrapper
from sqlalchemy.exc import TimeoutError as PoolTimeout


class DatabaseWrapper(PooledWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        try:
            return super().get_new_connection(conn_params)
        except PoolTimeout as error:
            raise self.Database.OperationalError("no connection of the pool came free") from error
