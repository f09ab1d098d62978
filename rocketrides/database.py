"""Where the database is: its URL, when a connection to it is given up, and who shares it.

Open it to see what `DATABASE_URL` may say. Django takes psycopg 3 where it is installed, else
psycopg2, which is here in any case, to read the URL.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import psycopg2
from django.db.backends.postgresql.psycopg_any import errors, is_psycopg3
from environ import Env  # type: ignore[import-untyped]
from psycopg2.extensions import libpq_version, parse_dsn

from rocketrides.environment import refuse_to_start


def is_true(text: str) -> bool:
    return text.lower() in Env.BOOLEAN_TRUE_STRINGS


# Django's names of what libpq's parser finds in a URL. Everything else is libpq's own option.
DATABASE_FIELDS = {
    "dbname": "NAME",
    "user": "USER",
    "password": "PASSWORD",
    "host": "HOST",
    "port": "PORT",
}
# What a URL may say of a connection that is Django's, not libpq's; and how a text says it.
DATABASE_SETTINGS: dict[str, Callable[[str], Any]] = {
    "CONN_MAX_AGE": lambda text: int(text) if text.isdecimal() else None,
    "CONN_HEALTH_CHECKS": is_true,
    "DISABLE_SERVER_SIDE_CURSORS": is_true,
    "ATOMIC_REQUESTS": is_true,
    "AUTOCOMMIT": is_true,
}
# An unescaped character ends a password too early, and its rest would be taken for the name of a
# host or a database, which error messages repeat.
URL_AFTER_SCHEME = re.compile(r"[^/?#@]*(@[^/?#@]*)?(/[^?#@]*)?(\?[^#]*)?")
UNREADABLE = (
    "DATABASE_URL cannot be read. In a user, a password or a name, / is written as %2F, ? as %3F, "
    "# as %23, @ as %40"
)
PORTS_OF_HOSTS = re.compile(r"\d*(,\d*)*")
LIBPQ_WITH_TCP_USER_TIMEOUT = 120_000


def database(url: str) -> dict[str, Any]:
    """Return Django's settings for a URL of libpq's, which may name several hosts.

    libpq reads it: `a:5432,b:5432`, `?host=a,b&target_session_attrs=read-write`, and a socket's
    folder as `%2Fvar%2Frun%2Fpostgresql` mean what they mean to psql.

    Raises: SystemExit, in one line that repeats nothing of the URL, which may have a password.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in ("postgres", "postgresql"):
        refuse_to_start("DATABASE_URL does not name a PostgreSQL database")
    start, _, query = url.partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    djangos = {name.upper(): text for name, text in options if name.upper() in DATABASE_SETTINGS}
    libpqs = [(name, text) for name, text in options if name.upper() not in DATABASE_SETTINGS]
    try:
        said = parse_dsn(f"{start}?{urlencode(libpqs, quote_via=quote)}")
    except psycopg2.ProgrammingError:
        refuse_to_start(UNREADABLE)
    if not URL_AFTER_SCHEME.fullmatch(rest) or not PORTS_OF_HOSTS.fullmatch(said.get("port", "")):
        refuse_to_start(UNREADABLE)
    fields = {name: said.pop(libpqs_name, "") for libpqs_name, name in DATABASE_FIELDS.items()}
    if not fields["NAME"] and "service" not in said:
        refuse_to_start("DATABASE_URL names no database: postgres://user:password@host:5432/name")
    settings = {name: DATABASE_SETTINGS[name](text) for name, text in djangos.items()}
    return {"ENGINE": "django.db.backends.postgresql", **fields, **settings, "OPTIONS": said}


def begin_in_schema(settings: dict[str, Any], schema: str) -> None:
    """Have each session begin in a schema. Where sessions begin without options, since a PgBouncer
    refuses them, the role or the pooler has to say it; a check looks.
    """
    if schema and settings["OPTIONS"]["options"]:
        settings["OPTIONS"]["options"] += f" -c search_path={schema}"


def limits_of_silence(seconds: int) -> dict[str, int]:
    """Return libpq's options that end a connection whose server has not been heard of for so long.

    One to which something was sent ends by `tcp_user_timeout`, one that waits by keepalives. Over a
    Unix socket both mean nothing. Without them TCP tries again for a quarter of an hour.
    """
    if not seconds:
        return {}
    limits = {
        "keepalives": 1,
        "keepalives_idle": max(1, seconds // 2),
        "keepalives_interval": max(1, seconds // 5),
        "keepalives_count": 3,
    }
    if libpq_version() >= LIBPQ_WITH_TCP_USER_TIMEOUT:
        limits["tcp_user_timeout"] = seconds * 1000
    return limits


def refuse_those_who_wait(pool: Any) -> None:
    """Fail the threads that wait for a connection, unless other threads have some to give back.

    psycopg's pool connects in a thread of its own, and those who wait are not told that it was
    refused a connection: they would wait until their patience ends.

    Args:
        pool: a `psycopg_pool.ConnectionPool` that was refused a connection.
    """
    with pool._lock:
        if pool._nconns > len(pool._pool):
            return
        waiting = list(pool._waiting)
        pool._waiting.clear()
    for thread in waiting:
        thread.fail(errors.OperationalError("the connection that was waited for was refused"))


def share_connections(settings: dict[str, Any], size: int, *, patience_seconds: float = 10) -> None:
    """Have the threads of a process share connections, by a pool that fits the driver.

    On psycopg 3 it is Django's own; on psycopg2, for which Django has none, `rocketrides/pooled`.
    Neither pings a connection that it hands out, which would cost a statement. Both refuse a thread
    at once while the server is away, and have it wait while other threads hold connections.

    Args:
        settings: a database's, with its `OPTIONS`.
        size: how many connections a process opens at most.
        patience_seconds: how long a thread waits for one.
    """
    settings["CONN_MAX_AGE"] = 0  # back to the pool, not closed
    if is_psycopg3:
        pool = {
            "min_size": 0,
            "max_size": size,
            "timeout": patience_seconds,
            "reconnect_timeout": 0,  # seconds: a refused connection is asked for once more, at once
            "reconnect_failed": refuse_those_who_wait,
        }
        settings["OPTIONS"] = {**settings["OPTIONS"], "pool": pool}
        return
    settings["ENGINE"] = "rocketrides.pooled"
    settings["POOL_OPTIONS"] = {
        "POOL_SIZE": size,
        "MAX_OVERFLOW": 0,
        "TIMEOUT": patience_seconds,
        "RECYCLE": -1,
        "PRE_PING": False,
    }
