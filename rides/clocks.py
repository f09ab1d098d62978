"""Whether the clocks of this process, the database and Stripe agree.

A difference is a warning and refuses nothing: leases and look-ups allow for it up to a limit, and a
warning before that is worth more than an instance that does not start.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import DatabaseError, connection

from idempotency import conf
from rides import payments

# Leases allow for 5 s between process and database; a `Date` is given in whole seconds.
PROCESS_MAY_DIFFER = timedelta(seconds=5)
# Look-ups at Stripe allow for hours: a minute is no harm yet, and no clock that is looked after.
STRIPE_MAY_DIFFER = timedelta(minutes=1)


def clock_warnings() -> list[str]:
    """Return in words which clocks differ, or could not be read; nothing where they agree.

    With a SELECT or two and one call to Stripe, so not for each request.
    """
    return list(_warnings())


def _warnings() -> Iterator[str]:
    database, stripe = _database_ahead(), payments.stripes_clock_ahead()
    if database is None:
        yield "The database's clock could not be read."
    elif abs(database) > PROCESS_MAY_DIFFER:
        yield f"The database's clock is {_said(database)} this process's."
    if settings.DATABASE_SCHEMA and database is not None:
        yield from _warnings_of_nodes(database)
    if stripe is None:
        yield "Stripe's clock could not be read."
    elif abs(apart := stripe - (database or timedelta(0))) > STRIPE_MAY_DIFFER:
        allowed = conf.current().provider_clock_difference
        yield (
            f"Stripe's clock is {_said(apart)} the database's. Payments are looked up correctly "
            f"up to a difference of {allowed}."
        )


# Where another server has the rows than the one that is connected to, as in a cell on Citus, it is
# asked there.
CLOCK = "SELECT clock_timestamp()"
CLOCK_WHERE_THE_ROWS_ARE = """
SELECT clock_timestamp() FROM (SELECT count(*) FROM rides_reconcileduntil WHERE id = 0) AS there
"""


def _warnings_of_nodes(connected: timedelta) -> Iterator[str]:
    """What is written has the time of the one, and is looked for by the time of the other."""
    there = _database_ahead(CLOCK_WHERE_THE_ROWS_ARE)
    if there is not None and abs(apart := there - connected) > PROCESS_MAY_DIFFER:
        yield (
            f"The clock of the server that has the cell is {_said(apart)} that of the server which "
            "is connected to."
        )


def _database_ahead(statement: str = CLOCK) -> timedelta | None:
    try:
        with connection.cursor() as cursor:
            asked_at = time.time()
            cursor.execute(statement)
            said: datetime = cursor.fetchone()[0]
    except DatabaseError:
        return None
    return said - datetime.fromtimestamp((asked_at + time.time()) / 2, UTC)


def _said(ahead: timedelta) -> str:
    seconds = timedelta(seconds=round(abs(ahead).total_seconds()))
    return f"{seconds} {'ahead of' if ahead > timedelta(0) else 'behind'}"
