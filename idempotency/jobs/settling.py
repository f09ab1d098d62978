"""The settling block of a job that calls out: its one place for writes, and the guard around it."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db import connections

from idempotency.database import ALIAS, atomic, connection
from idempotency.exceptions import SettlingNotKept, SettlingOpenedTwice, WriteOutsideSettling
from idempotency.jobs.leases import JobLease, settle_delivery
from idempotency.transactions import give_connection_back, hooks_logged, refuse_open_transaction

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_READING = re.compile(r"[\s(]*(?:SELECT|WITH|VALUES|TABLE|SHOW|EXPLAIN)\b", re.IGNORECASE)
# INTO is for SELECT … INTO. UPDATE and SHARE are also what a lock asks for, which nothing would
# hold.
_CHANGING = re.compile(
    r"\b(?:INSERT|UPDATE|DELETE|MERGE|INTO|FOR\s+(?:KEY\s+)?SHARE)\b", re.IGNORECASE
)


class Settling:
    """What a job with a parameter `settling` gets: `with settling():` is where it writes.

    The block is one transaction, which strikes the job off as well: what it writes is there once,
    or not at all. It is opened once, when all that the job does elsewhere is done.
    """

    def __init__(self, lease: JobLease, call_off_limit: Callable[[], None]) -> None:
        self._lease = lease
        self._call_off_limit = call_off_limit
        self._may_write = self._was_opened = self._is_settled = False
        self._open_cursors = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Raises: `SettlingOpenedTwice`; `JobLeaseLost` at its end, where nothing is kept."""
        if self._was_opened:
            raise SettlingOpenedTwice("A job settles once. What it writes goes into one block.")
        self._was_opened = self._may_write = True
        try:
            with atomic(durable=True), hooks_logged():
                yield
                settle_delivery(self._lease)
                # An interruption in the middle of COMMIT would leave the connection in no state.
                self._call_off_limit()
            self._is_settled = True
        finally:
            self._may_write = False

    def finish(self) -> None:
        """Settle a job that has returned without opening its block.

        Raises: `SettlingNotKept` where it opened the block, which failed, and returned even so.
        """
        if not self._was_opened:
            with self():
                return
        if not self._is_settled:
            raise SettlingNotKept("The job returned, but its settling block had been rolled back.")

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Outside of the settling block nothing but a SELECT runs, and no connection is kept.

        A function that writes and is called by a SELECT is not seen.
        """
        own = connections[ALIAS]  # itself, since what `connection` leads to may change
        with ExitStack() as stack:
            stack.enter_context(own.execute_wrapper(self._refuse_writes))
            for name in ("make_cursor", "make_debug_cursor"):
                setattr(own, name, self._counting(getattr(own, name)))
                stack.callback(delattr, own, name)
            give_connection_back()
            yield

    def _refuse_writes(self, execute: Callable[..., Any], sql: Any, *call: Any) -> Any:
        if not self._may_write:
            refuse_open_transaction()
            if not only_reads(str(sql)):
                raise WriteOutsideSettling(
                    "A job that calls out writes inside of `with settling():` only, where that "
                    "commits together with the end of the job."
                )
        return execute(sql, *call)

    def _counting(self, make: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Give a pool its connection back as soon as everything that was asked has been read."""

        def make_counted(raw: Any) -> Any:
            cursor = make(raw)
            is_open = True
            self._open_cursors += 1

            def close() -> None:
                nonlocal is_open
                raw.close()
                self._open_cursors -= is_open
                is_open = False
                if not (self._open_cursors or connection.in_atomic_block):
                    give_connection_back()

            cursor.close = close
            return cursor

        return make_counted


def only_reads(sql: str) -> bool:
    """Say whether a statement asks and does nothing else, neither changes a row nor locks one."""
    bare = _QUOTED.sub(" ", sql)
    return bool(_READING.match(bare)) and not _CHANGING.search(bare)
