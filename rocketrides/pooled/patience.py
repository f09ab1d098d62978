"""A pool that waits for one of its own connections where PostgreSQL gives it no more.

Open it where the server allows fewer connections than the pools of all processes may open.
"""

import time
from typing import Any

from django.db.backends.postgresql.base import Database  # type: ignore[attr-defined]
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool
from sqlalchemy.util.queue import Empty

LOOK_AGAIN_SECONDS = 0.1
ASK_AGAIN_AFTER_SECONDS = 1.0


class PatientPool(QueuePool):
    """SQLAlchemy's, but that a refused connection is no reason to fail while other threads have
    connections of the pool, which they will give back.

    Why it was refused is not asked: that reaches the driver as a text in the server's language. If
    the server is gone, the other threads fail too, and nobody waits for long.
    """

    _refused_until = 0.0

    def _do_get(self) -> Any:
        """Raises: TimeoutError of SQLAlchemy's for a wait in vain, and the driver's
        OperationalError where no thread has a connection.
        """
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            try:
                return self._connected(self._next())
            except Empty:
                continue
            except Database.OperationalError:
                if self.checkedout() <= 0:
                    raise
                self._refused_until = time.monotonic() + ASK_AGAIN_AFTER_SECONDS
        raise PoolTimeout("no more connections are given, and none of the pool came free")

    def _next(self) -> Any:
        """For a while after a refusal only what other threads give back, then one asks again."""
        now = time.monotonic()
        if now < self._refused_until and self.checkedout() > 0:
            return self._pool.get(True, LOOK_AGAIN_SECONDS)
        if self._refused_until:
            self._refused_until = now + ASK_AGAIN_AFTER_SECONDS
        entry = super()._do_get()
        self._refused_until = 0.0
        return entry

    def _connected(self, entry: Any) -> Any:
        """An entry has no connection after the one that it had was dropped. Where it gets no other,
        it is no longer one of the pool's.
        """
        try:
            entry.get_connection()
        except BaseException:
            self._dec_overflow()
            raise
        return entry
