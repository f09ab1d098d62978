"""What all processes have counted, in the database: added to, read, and removed when it is old.

By the minute for two hours, by ten minutes for a day and a half, by the hour for five weeks: a
chart of any of these lengths is drawn of some hundred moments.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from idempotency.database import connection
from idempotency.watched import ADDED_UP, LIMITS
from idempotency.watching.counts import Series, Tally

# Two processes that add to the same rows take them in the same order, so neither waits for the
# other in a circle.
ADD_TO_ROLLUP = f"""
INSERT INTO idempotency_rollup AS rollup
       (span, at, what, operation, name, outcome, count, seconds, buckets)
SELECT span, date_bin(lasts, statement_timestamp(), 'epoch'), what, operation, name, outcome,
       count, seconds, buckets::bigint[]
  FROM unnest(%(what)s::text[], %(operation)s::text[], %(name)s::text[], %(outcome)s::text[],
              %(count)s::bigint[], %(seconds)s::float8[], %(buckets)s::text[])
       AS counted (what, operation, name, outcome, count, seconds, buckets),
       (VALUES ('minute', INTERVAL '1 minute'), ('ten', INTERVAL '10 minutes'),
               ('hour', INTERVAL '1 hour')) AS spans (span, lasts)
 ORDER BY span, what, operation, name, outcome
{ADDED_UP}"""  # noqa: S608 - SQL of our own

REMOVE_OLD_ROLLUPS = """
DELETE FROM idempotency_rollup
 WHERE span = %(span)s AND at < statement_timestamp() - %(kept_for)s
"""
KEPT_FOR = {
    "minute": timedelta(hours=2),
    "ten": timedelta(hours=36),
    "hour": timedelta(days=35),
}
LONGEST = (20, 255, 255, 100)
"""What the columns take of a series' names, in their order."""

TIMED = ("request", "phase")
"""What is read with its buckets."""

STEPS = {"minute": timedelta(minutes=1), "ten": timedelta(minutes=10), "hour": timedelta(hours=1)}

# By the unique index, from the beginning of the time that is looked at. Reading an array takes a
# driver longer than the database, so only those come that a length of time is drawn of.
READ_ROLLUP = """
SELECT at AT TIME ZONE 'UTC', what, operation, name, outcome, count, seconds,
       CASE WHEN what = ANY(%(timed)s) THEN buckets END
  FROM idempotency_rollup
 WHERE span = %(span)s
   AND at > statement_timestamp() - %(lasts)s
   AND what = ANY(%(whats)s)
"""


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted of a series in one span of time."""

    at: datetime
    series: Series
    tally: Tally


def add_to_rollup(counts: Mapping[Series, Tally]) -> None:
    """Add what a process has counted, in one statement."""
    if not counts:
        return
    fitting: dict[Series, Tally] = {}
    for series, tally in counts.items():
        fitting.setdefault(_fitting(series), Tally()).merge(tally)
    tallies = list(fitting.values())
    values: dict[str, Any] = {
        **{name: [getattr(series, name) for series in fitting] for name in Series._fields},
        "count": [tally.count for tally in tallies],
        "seconds": [tally.seconds for tally in tallies],
        "buckets": ["{" + ",".join(map(str, tally.buckets)) + "}" for tally in tallies],
    }
    with connection.cursor() as cursor:
        cursor.execute(ADD_TO_ROLLUP, values)


def _fitting(series: Series) -> Series:
    """Return the series with its names as the columns take them. Two that are alike then are one: a
    statement that had both would fail, and with it everything that is to be told from then on.
    """
    return Series(*(name.replace("\0", "")[:n] for name, n in zip(series, LONGEST, strict=True)))


def remove_old_rollups() -> None:
    with connection.cursor() as cursor:
        for span, kept_for in KEPT_FOR.items():
            cursor.execute(REMOVE_OLD_ROLLUPS, {"span": span, "kept_for": kept_for})


def span_of(lasts: timedelta) -> str:
    """Return the finest span that is kept for so long."""
    return next(span for span, kept_for in KEPT_FOR.items() if lasts <= kept_for)


def read_rollup(lasts: timedelta, *whats: str) -> Sequence[Counted]:
    """Return what was counted in the time up to now, by `span_of` that time.

    Args:
        lasts: how far back.
        whats: the kinds of `Series.what` that are asked for.
    """
    values = {
        "span": span_of(lasts),
        "lasts": lasts,
        "whats": list(whats),
        "timed": list(TIMED),
    }
    with connection.cursor() as cursor:
        cursor.execute(READ_ROLLUP, values)
        rows = cursor.fetchall()
    return [
        Counted(
            at.replace(tzinfo=UTC),  # with `USE_TZ` off a driver gives times without a zone
            Series(*series),
            Tally(count, seconds, buckets or [0] * (len(LIMITS) + 1)),
        )
        for at, *series, count, seconds, buckets in rows
    ]


def quantile(tally: Tally, share: float) -> float:
    """Return, in seconds, what `share` of what was counted took at most, by its buckets.

    Between two limits it is taken to be spread evenly; past the last one it is that.
    """
    wanted, below = share * tally.count, 0
    for limit, at_least, count in zip(LIMITS, (0.0, *LIMITS), tally.buckets, strict=False):
        if count and below + count >= wanted:
            return at_least + (limit - at_least) * (wanted - below) / count
        below += count
    return LIMITS[-1]
