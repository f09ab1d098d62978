"""System checks of the database's settings: those under which a promise would fail.

`manage.py check` runs them; those that ask the database run with `--database default`, or what
`IDEMPOTENCY["DATABASE"]` names.
"""

import socket
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import ProgrammingError, connections

from idempotency import conf
from idempotency.database import ALIAS, atomic, connection
from idempotency.foreign_keys import another_namespace

MONTHS = range(1, 13)


@register()
def check_no_transaction_around_requests(**_: Any) -> list[CheckMessage]:
    return [
        Error(
            f"ATOMIC_REQUESTS is on for the database {alias!r}: every foreign call would be made "
            "inside a transaction.",
            hint="Remove it. An operation's phases open their own transactions.",
            id="idempotency.E005",
        )
        for alias, database in settings.DATABASES.items()
        if database.get("ATOMIC_REQUESTS")
    ]


@register()
def check_autocommit(**_: Any) -> list[CheckMessage]:
    """Refuse AUTOCOMMIT off: what is written outside of a transaction would be rolled back."""
    if connections[ALIAS].settings_dict.get("AUTOCOMMIT", True):
        return []
    return [
        Error(
            f"AUTOCOMMIT is off for the database {ALIAS!r}: requests would be answered with 201, "
            "and nothing of them kept.",
            hint="Remove it. What belongs together is in a transaction of its own already.",
            id="idempotency.E052",
        )
    ]


@register()
def check_time_zone(**_: Any) -> list[CheckMessage]:
    """Times of one zone are compared by what its clocks show, which are put back once a year: for
    an hour each lease would be taken for one of the future.
    """
    name = connections[ALIAS].timezone_name
    year = datetime.now(tz=UTC).year
    if len({datetime(year, m, 1, tzinfo=ZoneInfo(name)).utcoffset() for m in MONTHS}) == 1:
        return []
    return [
        Error(
            f"The database's times are read in {name!r}, where the clocks are put back once a "
            "year: in that hour a key would be taken over although its lease lasts.",
            hint="Set USE_TZ = True and remove TIME_ZONE from the database's settings; what people "
            "see is by TIME_ZONE still.",
            id="idempotency.E053",
        )
    ]


@register()
def check_silent_servers(**_: Any) -> list[CheckMessage]:
    """A server that falls silent, without an end of its connections, is waited for by TCP for a
    quarter of an hour: longer than a lease, and than any client's patience.
    """
    return [
        Warning(
            f"The database {alias!r} is waited for without a limit if its host falls silent: "
            f"{reason}.",
            hint='For example: OPTIONS = {"tcp_user_timeout": 10_000, "keepalives_idle": 5, '
            '"keepalives_interval": 2, "keepalives_count": 3}.',
            id="idempotency.W040",
            obj=alias,
        )
        for alias, database in settings.DATABASES.items()
        if database.get("ENGINE") and (reason := _silence_is_unlimited(database))
    ]


@register(Tags.database)
def check_session_limits(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """A process that is frozen inside a transaction holds its locks until the server ends it."""
    return [
        Warning(
            f"The database {alias!r} puts no limit on {parameter}: a frozen process could hold up "
            "the retries of its request for ever.",
            hint=f'For example: OPTIONS = {{"options": "-c {parameter}=30s"}}.',
            id="idempotency.W002",
            obj=parameter,
        )
        for alias in {ALIAS}.intersection(databases or [])
        for parameter in ("lock_timeout", "idle_in_transaction_session_timeout")
        if _is_unlimited(alias, parameter)
    ]


@register(Tags.database)
def check_namespace(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Refuse another namespace than the database's: each retry in flight would be asked anew."""
    configured = conf.current().foreign_key_namespace
    if ALIAS not in (databases or []) or configured is None:
        return []
    try:
        kept = another_namespace()
    except ProgrammingError:  # the table is not there yet
        return []
    if kept is None:
        return []
    return [
        Error(
            f"FOREIGN_KEY_NAMESPACE is {configured}, and the foreign keys of the database "
            f"{ALIAS!r} are derived from {kept}: a retry of what was charged would charge again.",
            hint=f"Set it to {kept}, or find out whose database this is.",
            id="idempotency.E057",
        )
    ]


@register(Tags.database)
def check_isolation(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Stricter than READ COMMITTED, claims that meet are refused, and are repeated."""
    if ALIAS not in (databases or []):
        return []
    with atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_isolation')")
        [level] = cursor.fetchone()
    if level in ("read committed", "read uncommitted"):
        return []
    return [
        Warning(
            f"Transactions of the database {ALIAS!r} are {level} unless they say otherwise: "
            "nothing is lost by it, but of claims at the same time all but one are repeated.",
            hint="Leave it at READ COMMITTED, and write isolation = SERIALIZABLE on each operation "
            "whose phases decide by what they read.",
            id="idempotency.W041",
        )
    ]


@register(Tags.database)
def check_durability(*, databases: Sequence[str] | None = None, **_: Any) -> Iterator[CheckMessage]:
    """A foreign call follows the commit of its intent, and an answer the commit of its request."""
    for parameter in ("fsync", "synchronous_commit"):
        if _setting_of(databases, parameter) == "off":
            yield Warning(
                f"{parameter} is off for the database {ALIAS!r}: a crash of the server would lose "
                "requests that were answered already.",
                hint="Switch it on, at least for the role that serves requests.",
                id="idempotency.W042",
                obj=parameter,
            )


@register(Tags.database)
def check_encoding(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Refuse an encoding that lacks what clients send and foreign systems answer."""
    encoding = _setting_of(databases, "server_encoding")
    if encoding in (None, "UTF8"):
        return []
    return [
        Error(
            f"The database {ALIAS!r} stores texts in {encoding}: a request with a character that "
            "this encoding lacks would be answered with 500.",
            hint="Create the database with ENCODING 'UTF8'.",
            id="idempotency.E054",
        )
    ]


def _silence_is_unlimited(database: dict[str, Any]) -> str | None:
    """Say why nothing limits the silence of a server's host. None where something does, and where
    it is reached by a Unix socket, whose other end cannot be lost without notice.
    """
    options = database.get("OPTIONS", {})
    hosts = str(database.get("HOST") or "").split(",")
    if all(not host or host.startswith(("/", "@")) for host in hosts):
        return None
    if not options.get("tcp_user_timeout"):
        return "tcp_user_timeout is not set"
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        return "this platform has no tcp_user_timeout"
    return None


# Where another server than the one that is connected to has the table, as in a cell on Citus, it is
# the other's setting that counts: a session's own does not reach it.
LIMIT_WHERE_THE_KEYS_ARE = """
SELECT current_setting(%s) = '0' FROM (SELECT count(*) FROM idempotency_idempotencykey WHERE id = 0)
    AS there
"""
LIMIT_HERE = "SELECT current_setting(%s) = '0'"


def _is_unlimited(alias: str, parameter: str) -> bool:
    with connections[alias].cursor() as cursor:
        try:
            cursor.execute(LIMIT_WHERE_THE_KEYS_ARE, [parameter])
        except ProgrammingError:  # the table is not there yet
            cursor.execute(LIMIT_HERE, [parameter])
        return bool(cursor.fetchone()[0])


def _setting_of(databases: Sequence[str] | None, parameter: str) -> str | None:
    """Return the setting, or None where the database is not to be asked."""
    if ALIAS not in (databases or []):
        return None
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT current_setting(%s)", [parameter])
        [value] = cursor.fetchone()
    return str(value)
