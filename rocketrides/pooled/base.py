"""PostgreSQL by a pool of connections, which a process's threads share: `DATABASE_POOL_SIZE`.

A thread that waits for Stripe needs no connection, so a few serve many. This is the package's
backend, with its answers to three troubles: no connection is free, PostgreSQL gives no more of
them, and the server has gone away.
"""

import os
import threading
from functools import cached_property
from types import TracebackType
from typing import Any

from dj_db_conn_pool.backends.postgresql.base import DatabaseWrapper as PooledWrapper
from dj_db_conn_pool.core import pool_container
from django.db import Error
from django.db.utils import DatabaseErrorWrapper
from sqlalchemy.exc import TimeoutError as PoolTimeout

from idempotency.database_errors import FAILED, Keep, Meaning, meaning_of
from rocketrides.pooled.patience import PatientPool


class DatabaseWrapper(PooledWrapper):
    meaning = FAILED
    """Of the last error that says something of the connection."""

    @cached_property
    def wrap_database_errors(self) -> DatabaseErrorWrapper:
        return _AttentiveErrorWrapper(self)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Raises: OperationalError for a wait in vain, so that it is answered with a 503."""
        self.meaning = FAILED
        with pool_container.lock:
            if not pool_container.has(self.alias):
                pool_container.put(self.alias, self._new_pool(conn_params))
        try:
            return super().get_new_connection(conn_params)
        except PoolTimeout as error:
            raise self.Database.OperationalError("no connection of the pool came free") from error

    def close(self) -> None:
        """Back to the pool; or out of it after an error that says so, alone or with all that are as
        old: they were ended with it, and each would fail a request before that was noticed.
        """
        if self.connection is not None:
            self._leave_pool(self.meaning)
        super().close()

    def _leave_pool(self, meaning: Meaning) -> None:
        if meaning.pool is Keep.DROP:
            self.connection._pool._invalidate(self.connection)
        elif meaning.connection is Keep.DROP or self.connection.driver_connection.closed:
            self.connection.invalidate()

    def _new_pool(self, conn_params: dict[str, Any]) -> PatientPool:
        options = {
            name.lower(): value for name, value in self.settings_dict["POOL_OPTIONS"].items()
        }
        return PatientPool(
            lambda: self._get_new_connection(conn_params), dialect=self._get_dialect(), **options
        )

    def _set_autocommit(self, autocommit: bool) -> None:
        """Django's own: the package's logs an error with a traceback for a server that is gone."""
        with self.wrap_database_errors:
            self._set_dbapi_autocommit(autocommit)


class _AttentiveErrorWrapper(DatabaseErrorWrapper):
    """Notices what an error says of the connection, before Django gives the connection back."""

    wrapper: DatabaseWrapper

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(exc_type, exc_value, traceback)
        except Error as error:
            meaning = meaning_of(error)
            if meaning.connection is Keep.DROP:
                self.wrapper.meaning = meaning
            raise


_pools_of_the_parent: list[Any] = []


def begin_with_no_pool() -> None:
    """In a forked process: its pool is a new one, and the parent's is left alone, never closed."""
    _pools_of_the_parent.extend(pool_container.values())
    pool_container.clear()
    pool_container.lock = threading.Lock()  # another thread of the parent's may hold the old one


os.register_at_fork(after_in_child=begin_with_no_pool)
