"""The benchmark's PostgreSQL: a server of its own at default durability, and what it counts.

Apart from the surroundings of the other benchmarks because it has extensions that count. Every
contestant gets a database of its own, copied from one that is migrated and has the riders, so that
tables, counters and connections can be told apart.
"""

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg2

from bench.processes import execute
from rocketrides.environment import LOCAL_DIR
from sandbox import postgres

DATA_DIR = LOCAL_DIR / "bench-postgres"
SERVER_URL = postgres.url(DATA_DIR, "postgres")
MAX_CONNECTIONS = 500  # pgbench holds one for each of 256 clients, and every server keeps its own

# A COMMIT returns once it is on the disk, and a torn page can be mended: PostgreSQL's defaults.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}

# BEGIN, COMMIT and ROLLBACK are not about the work, and deferred foreign keys are checked by
# statements that the server sends itself.
COUNT_STATEMENTS = """
SELECT COALESCE(sum(calls), 0)
  FROM pg_stat_statements JOIN pg_database ON oid = dbid
 WHERE datname = %s
   AND query !~* '^(begin|commit|end|rollback)'
   AND query NOT LIKE '%% FOR KEY SHARE OF x'
"""

# From the write-ahead log, where every commit that wrote something has a record and is flushed for,
# and no other has. Autovacuum's tell the others to forget what they know of a table.
COUNT_COMMITS = """
SELECT count(*) FROM pg_get_wal_records_info(%s, pg_current_wal_flush_lsn())
 WHERE resource_manager = 'Transaction' AND record_type LIKE 'COMMIT%%'
   AND description NOT LIKE '%%inval msgs%%'
"""
MARK_THE_LOG = "SELECT pg_logical_emit_message(false, 'bench', 'the log has an end', flush => true)"

COUNT_CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'
"""


@dataclass(frozen=True)
class Counted:
    """What a database was asked: savepoints are counted with the statements."""

    statements: int
    commits: int


@contextmanager
def running_server() -> Iterator[None]:
    """One benchmark at a time; a second one waits.

    Raises: SystemExit, where a COMMIT would not wait for the disk.
    """
    postgres.MAX_CONNECTIONS = MAX_CONNECTIONS
    with postgres.lock_file(DATA_DIR, "benchmark") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with postgres.in_use(DATA_DIR):
            load_extensions()
            refuse_fast_and_loose()
            yield


def load_extensions() -> None:
    """Those that count. One of them needs the server to start anew."""
    execute(
        SERVER_URL,
        "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'",
        "ALTER SYSTEM SET pg_stat_statements.track = 'none'",
    )
    postgres.stop(DATA_DIR)
    postgres.database_url(DATA_DIR)
    for extension in ("pg_stat_statements", "pg_walinspect"):
        execute(SERVER_URL, f"CREATE EXTENSION IF NOT EXISTS {extension}")


def refuse_fast_and_loose() -> None:
    for setting, wanted in DURABLE.items():
        (found,) = ask(f"SHOW {setting}")
        if found != wanted:
            raise SystemExit(f"PostgreSQL has {setting} = {found}: this would measure nothing")


def url(database: str) -> str:
    return postgres.url(DATA_DIR, database)


@contextmanager
def created(name: str, *, template: str = "template1") -> Iterator[str]:
    """An empty database, or a copy of `template`, for the length of the block; yields its URL."""
    execute(
        SERVER_URL,
        f"DROP DATABASE IF EXISTS {name} WITH (FORCE)",
        f"CREATE DATABASE {name} TEMPLATE {template}",
    )
    try:
        yield url(name)
    finally:
        execute(SERVER_URL, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def count(name: str, work: Callable[[], None]) -> Counted:
    """What `work` asks of a database. It is done twice, and the second time counts: a session's
    first statements are about itself, and it learns with them that it is to count.
    """
    execute(SERVER_URL, *_tracking("top"))
    work()
    (begins,) = ask("SELECT pg_current_wal_flush_lsn()")
    execute(SERVER_URL, "SELECT pg_stat_statements_reset()")
    work()
    execute(SERVER_URL, MARK_THE_LOG, *_tracking("none"))
    (statements,) = ask(COUNT_STATEMENTS, name)
    (commits,) = ask(COUNT_COMMITS, begins)
    return Counted(statements=int(statements), commits=int(commits))


@contextmanager
def counting_connections(name: str) -> Iterator[Callable[[], int]]:
    """Yield a function that counts the clients of a database, by a connection that stays open."""
    connection = psycopg2.connect(SERVER_URL)
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:

        def count_now() -> int:
            cursor.execute(COUNT_CONNECTIONS, [name])
            return int(cursor.fetchone()[0])

        yield count_now


def version() -> str:
    (shown,) = ask("SHOW server_version")
    return str(shown)


def process() -> psutil.Process:
    found = postgres.server_process(DATA_DIR)
    assert found is not None, "the server runs for the length of `running_server`"
    return found


def ask(query: str, *values: Any) -> tuple[Any, ...]:
    """The one row that a query gives."""
    connection = psycopg2.connect(SERVER_URL)
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(query, values or None)
        row: tuple[Any, ...] = cursor.fetchone()
    return row


def _tracking(what: str) -> tuple[str, str]:
    return f"ALTER SYSTEM SET pg_stat_statements.track = '{what}'", "SELECT pg_reload_conf()"
