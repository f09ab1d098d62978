"""How the service stands now, in a few numbers, each with its alarm: what the overview, `manage.py
status` and `/metrics` show.

Every statement reads an index of what is open, and of that no more than `MOST`: in good order all
of it is little, and in trouble a number beyond that says no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from idempotency import conf
from idempotency.database import connection
from idempotency.models import FINISHED
from idempotency.operations import foreign_points

MOST = 10_000

DEAD_AFTER = timedelta(seconds=45)
"""Three pulses and a half without one: the process is gone, or stands still."""

MOST_PROCESSES = 1_000
"""A process that is killed leaves its row for a day, and each restart of a container has one."""

WORKERS = ("completer", "enqueuer", "reaper", "worker")
EVERY_KIND = ("api", *WORKERS)

MOST_PLACES = 5
"""Of how many processes a line says where they are."""

# How old the oldest may be before somebody should look.
OLDEST = {
    "unfinished": timedelta(minutes=15),
    "unknown": timedelta(minutes=15),
    "review": timedelta(0),
    "staged": timedelta(minutes=1),
    "owed": timedelta(minutes=10),
    "set_aside": timedelta(0),
}

# Unfinished ones, without those that wait for a person. What is unknown has been sent, and nobody
# works on it. What is pending elsewhere may be so for days, and is as old as it likes.
UNFINISHED = f"""
SELECT count(*),
       EXTRACT(EPOCH FROM statement_timestamp()
                          - min(created_at) FILTER (WHERE pending_since IS NULL)),
       count(*) FILTER (WHERE is_unknown),
       EXTRACT(EPOCH FROM statement_timestamp() - min(foreign_sent_at) FILTER (WHERE is_unknown)),
       count(*) FILTER (WHERE pending_since IS NOT NULL)
  FROM (SELECT created_at, foreign_sent_at, pending_since,
               recovery_point = ANY(%(foreign_points)s) AND foreign_sent_at IS NOT NULL
                 AND pending_since IS NULL
                 AND (locked_at IS NULL OR locked_at < statement_timestamp() - %(lock_timeout)s)
                 AS is_unknown
          FROM idempotency_idempotencykey
         WHERE recovery_point <> '{FINISHED}' AND needs_review_at IS NULL
         LIMIT %(most)s) AS open
"""  # noqa: S608

UNDER_REVIEW = """
SELECT count(*), EXTRACT(EPOCH FROM statement_timestamp() - min(needs_review_at))
  FROM (SELECT needs_review_at FROM idempotency_idempotencykey
         WHERE needs_review_at IS NOT NULL LIMIT %(most)s) AS listed
"""

STAGED = """
SELECT count(*), EXTRACT(EPOCH FROM statement_timestamp() - min(since))
  FROM ((SELECT created_at AS since FROM idempotency_stagedjob
          WHERE run_after IS NULL ORDER BY id LIMIT %(most)s)
         UNION ALL
        (SELECT run_after FROM idempotency_stagedjob
          WHERE run_after <= statement_timestamp() ORDER BY run_after LIMIT %(most)s)) AS due
"""

OWED = """
SELECT count(*), EXTRACT(EPOCH FROM statement_timestamp() - min(created_at))
  FROM (SELECT created_at FROM idempotency_jobdelivery
         WHERE set_aside_at IS NULL ORDER BY handed_over_at LIMIT %(most)s) AS owed
"""

SET_ASIDE = """
SELECT count(*), EXTRACT(EPOCH FROM statement_timestamp() - min(set_aside_at))
  FROM (SELECT set_aside_at FROM idempotency_jobdelivery
         WHERE set_aside_at IS NOT NULL LIMIT %(most)s) AS aside
"""

HEARTBEATS = """
SELECT worker, host, pid, version, last_batch,
       EXTRACT(EPOCH FROM statement_timestamp() - seen_at),
       EXTRACT(EPOCH FROM statement_timestamp() - last_batch_at)
  FROM idempotency_heartbeat
 ORDER BY seen_at DESC LIMIT %(most_processes)s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """How many of something are open, and how long the oldest has been."""

    name: str
    title: str
    count: int
    oldest_seconds: float = 0.0

    @property
    def alarm(self) -> bool:
        """Whether somebody should look."""
        limit = OLDEST.get(self.name)
        return bool(
            limit is not None and self.count and self.oldest_seconds > limit.total_seconds()
        )

    @property
    def oldest(self) -> str:
        return said(self.oldest_seconds)

    @property
    def counted(self) -> str:
        return f"{self.count:,}" if self.count < MOST else f"{MOST:,} and more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that has told that it is there."""

    worker: str
    host: str
    pid: int
    version: str
    last_batch: str
    seen_seconds_ago: float
    batch_seconds_ago: float

    @property
    def is_alive(self) -> bool:
        # Seen in the future: by a database whose clock was ahead, before it was set right.
        return abs(self.seen_seconds_ago) <= DEAD_AFTER.total_seconds()

    @property
    def place(self) -> str:
        return f"{self.host}:{self.pid} {self.version}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """The processes of one command: those that are alive, or the last one that was."""

    name: str
    processes: Sequence[Process]

    @property
    def alive(self) -> int:
        return sum(process.is_alive for process in self.processes)

    @property
    def is_alive(self) -> bool:
        return self.alive > 0

    @property
    def alarm(self) -> bool:
        return not self.is_alive

    @property
    def standing(self) -> str:
        if not self.processes:
            return "not running"
        if not self.is_alive:
            return f"dead, last seen {said(self.processes[0].seen_seconds_ago)} ago"
        return f"{self.alive} alive"

    @property
    def last(self) -> str:
        """What was last done, by whichever of them. An API has no batches."""
        done = [process for process in self.processes if process.last_batch]
        if not done:
            return "" if self.name == "api" else "nothing yet"
        latest = min(done, key=lambda process: process.batch_seconds_ago)
        return latest.last_batch

    @property
    def places(self) -> str:
        """Where those that are alive are, each with its version."""
        alive = [process.place for process in self.processes if process.is_alive]
        more = len(alive) - MOST_PLACES
        return ", ".join(alive[:MOST_PLACES]) + (f", and {more} more" if more > 0 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All of it, read at about the same time."""

    tiles: Sequence[Tile]
    workers: Sequence[Worker]

    @property
    def alarms(self) -> list[str]:
        """Return what somebody should look at, in words."""
        return [
            f"{tile.title}: {tile.counted}, the oldest for {said(tile.oldest_seconds)}"
            for tile in self.tiles
            if tile.alarm
        ] + [f"{worker.name}: {worker.standing}" for worker in self.workers if worker.alarm]


def standing() -> Standing:
    """Read how the service stands."""
    values: dict[str, Any] = {
        "most": MOST,
        "most_processes": MOST_PROCESSES,
        "lock_timeout": conf.current().lock_timeout,
        "foreign_points": foreign_points(),
    }
    with connection.cursor() as cursor:

        def read(statement: str) -> list[tuple[Any, ...]]:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

        [(unfinished, oldest, unknown, unknown_since, pending)] = read(UNFINISHED)
        tiles = [
            _tile("unfinished", "Unfinished requests", unfinished, oldest),
            _tile("unknown", "Unknown outcomes", unknown, unknown_since),
            _tile("pending", "Pending elsewhere", pending, None),
            _tile("review", "Need review", *read(UNDER_REVIEW)[0]),
            _tile("staged", "Jobs staged", *read(STAGED)[0]),
            _tile("owed", "Jobs owed", *read(OWED)[0]),
            _tile("set_aside", "Jobs set aside", *read(SET_ASIDE)[0]),
        ]
        processes = [_process(row) for row in read(HEARTBEATS)]
    return Standing(tiles=tiles, workers=[_worker(name, processes) for name in EVERY_KIND])


def said(seconds: float) -> str:
    """Return a length of time as people say it, in its two largest units."""
    whole = max(0, int(seconds))
    days, hours, minutes = whole // 86_400, whole // 3_600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def _tile(name: str, title: str, count: int, oldest_seconds: Any) -> Tile:
    return Tile(name=name, title=title, count=count, oldest_seconds=float(oldest_seconds or 0))


def _process(row: tuple[Any, ...]) -> Process:
    worker, host, pid, version, last_batch, seen, batch = row
    return Process(
        worker=worker,
        host=host,
        pid=pid,
        version=version,
        last_batch=last_batch,
        seen_seconds_ago=float(seen),
        batch_seconds_ago=float(batch or 0),
    )


def _worker(name: str, processes: Sequence[Process]) -> Worker:
    """One that was killed is no news where another has taken its place."""
    own = [process for process in processes if process.worker == name]
    alive = [process for process in own if process.is_alive]
    return Worker(name=name, processes=alive or own[:1])
