"""The overview: tiles of what is open, and charts of the last hour, day or week.

It reads six bounded statements and the rollup, whatever the size of the tables.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse

from idempotency.admin.lists import ReadOnlyAdmin
from idempotency.console.charts import Chart, bars, lines
from idempotency.models import Overview
from idempotency.watching.counts import Tally
from idempotency.watching.rollups import STEPS, Counted, quantile, read_rollup, span_of
from idempotency.watching.standing import Standing, Tile, Worker, standing

RANGES = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
}
READ = ("request", "phase", "failure", "claim", "answer", "refusal", "finished")

# Which list a tile counts, and how that is filtered.
LISTS = {
    "unfinished": ("idempotency_idempotencykey", {"saved": "unfinished"}),
    "unknown": ("idempotency_idempotencykey", {"saved": "unknown"}),
    "pending": ("idempotency_idempotencykey", {"state": "pending"}),
    "review": ("idempotency_requestunderreview", {}),
    "staged": ("idempotency_stagedjob", {"time": "now"}),
    "owed": ("idempotency_jobdelivery", {"state": "owed"}),
    "set_aside": ("idempotency_jobdelivery", {"state": "set-aside"}),
}

MOST_PHASES = 12
"""So many have a chart of their own; the slowest are among them."""

FAILED = ("internal_error", "database_unavailable", "conflict", "postponed", "parked")

TAKEN = {
    "retried": "retries",
    "taken_by_completer": "taken over by the completer",
    "taken_by_reaper": "taken over by the reaper",
    "reviewed": "decided by a person",
}


@dataclass(frozen=True, slots=True)
class LinkedTile:
    """A tile, and the list of what it counts."""

    tile: Tile
    url: str


@dataclass(frozen=True, slots=True)
class LinkedWorker:
    """A worker, and the list of its processes."""

    worker: Worker
    url: str


@admin.register(Overview)
class OverviewAdmin(ReadOnlyAdmin):
    """The first page behind the admin's index. It has no rows of its own."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Overview]:
        """Return none: its model is the keys' own, whose page masks what this one would show."""
        return super().get_queryset(request).none()

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the overview; with `part=1` only what is refreshed of it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        chosen = request.GET.get("range", "hour")
        lasts = RANGES.get(chosen, RANGES["hour"])
        at, now = datetime.now(UTC), standing()
        counted = read_rollup(lasts, *READ)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Overview",
            "media": self.media,
            "tiles": linked(now),
            "workers": [LinkedWorker(each, list_of(each)) for each in now.workers],
            "alarms": now.alarms,
            "charts": charts_of(counted, lasts, at),
            "ranges": RANGES,
            "chosen": chosen if chosen in RANGES else "hour",
            "has_traffic": bool(counted),
            "read_at": at,
        }
        page = "overview_part" if request.GET.get("part") else "overview"
        return TemplateResponse(request, f"idempotency/{page}.html", context)


def linked(now: Standing) -> list[LinkedTile]:
    return [LinkedTile(tile, url_of(tile.name)) for tile in now.tiles]


def url_of(tile: str) -> str:
    """Return the address of the list that a tile counts; empty where the admin has none."""
    name, query = LISTS[tile]
    return _list_url(name, query)


def list_of(worker: Worker) -> str:
    """Return the address of the list of a worker's processes; empty where the admin has none."""
    return _list_url("idempotency_heartbeat", {"worker": worker.name})


def _list_url(name: str, query: dict[str, str]) -> str:
    try:
        return reverse(f"admin:{name}_changelist", query=query or None)
    except NoReverseMatch:
        return ""


def charts_of(counted: Sequence[Counted], lasts: timedelta, now: datetime) -> list[Chart]:
    """Return the charts of a time that ends now."""
    step = STEPS[span_of(lasts)]
    steps = steps_of(lasts, step, now)
    stacked = partial(bars, steps=steps, step=step, unit="")
    timed = partial(lines, steps=steps, step=step, unit="ms")

    def of(what: str) -> list[Counted]:
        return [each for each in counted if each.series.what == what]

    def named(each: Counted) -> str:
        return each.series.name

    requests, phases = of("request"), of("phase")
    asked = [each for each in requests if named(each) == "client"]
    taken = [each for each in of("claim") if named(each) in TAKEN]
    charts = [
        stacked(
            "Requests by outcome",
            _counts(requests, lambda each: kind_of(each.series.outcome)),
        ),
        timed("Time to an answer", _quantiles(asked)),
        timed("Phases, the slowest twentieth", _slowest(phases)),
        stacked("Retries and take-overs", _counts(taken, lambda each: TAKEN[named(each)])),
        stacked(
            "Answers of the foreign system",
            _counts(of("answer"), lambda each: answer_of(each.series.outcome)),
        ),
        stacked("Attempts without an answer", _counts(of("failure"), named)),
        stacked("Refused before a view", _counts(of("refusal"), named)),
    ]
    # What the reaper has rolled up of requests whose retention is over: exact, and three days late
    # by default.
    if finished := of("finished"):
        values = _counts(finished, lambda each: each.series.outcome)
        charts.append(stacked("Finished requests whose answer was reaped", values))
    return charts + [
        timed(f"{operation}: {phase}", _quantiles(own))
        for (operation, phase), own in _of_each_phase(phases)
    ]


def _of_each_phase(
    phases: Sequence[Counted],
) -> list[tuple[tuple[str, str], list[Counted]]]:
    """Return the phases that took most of the time, with what was counted of each."""
    own: dict[tuple[str, str], list[Counted]] = defaultdict(list)
    for each in phases:
        own[each.series.operation, each.series.name].append(each)
    by_time = sorted(own.items(), key=lambda each: -sum(one.tally.seconds for one in each[1]))
    return by_time[:MOST_PHASES]


def steps_of(lasts: timedelta, step: timedelta, now: datetime) -> list[datetime]:
    """Return the beginnings of the steps up to now, on the same grid as the rollup's."""
    begin = datetime(1970, 1, 1, tzinfo=UTC)
    last = begin + (now - begin) // step * step
    count = lasts // step
    return [last - step * back for back in range(count - 1, -1, -1)]


def kind_of(outcome: str) -> str:
    """Return the kind of an outcome: few enough to be told apart in a chart."""
    if outcome in ("replayed", "pending"):
        return outcome
    if outcome.startswith("2") or outcome == "finished":
        return "pending" if outcome == "202" else "done"
    if outcome.startswith("4") or outcome == "declined":
        return "declined"
    if outcome in ("outcome_unknown", "needs_review"):
        return "unknown"
    return "failed" if outcome in FAILED or outcome.startswith("5") else "refused"


def answer_of(status: str) -> str:
    if status in ("replayed", "none"):
        return {"replayed": "replays", "none": "no answer"}[status]
    return {"2": "2xx", "4": "4xx", "5": "5xx"}.get(status[:1], status)


def _counts(
    counted: Iterable[Counted], name_of: Callable[[Counted], str]
) -> dict[str, dict[datetime, float]]:
    values: dict[str, dict[datetime, float]] = defaultdict(dict)
    for each in counted:
        series = values[name_of(each)]
        series[each.at] = series.get(each.at, 0.0) + each.tally.count
    return values


def _quantiles(counted: Iterable[Counted]) -> dict[str, dict[datetime, float]]:
    merged = _merged(counted, lambda _: "all").get("all", {})
    return {
        name: {at: quantile(tally, share) * 1000 for at, tally in merged.items()}
        for name, share in (("99 of 100", 0.99), ("95 of 100", 0.95), ("half", 0.5))
    }


def _slowest(counted: Iterable[Counted]) -> dict[str, dict[datetime, float]]:
    merged = _merged(counted, lambda each: each.series.name)
    return {
        name: {at: quantile(tally, 0.95) * 1000 for at, tally in tallies.items()}
        for name, tallies in merged.items()
    }


def _merged(
    counted: Iterable[Counted], name_of: Callable[[Counted], str]
) -> dict[str, dict[datetime, Tally]]:
    merged: dict[str, dict[datetime, Tally]] = defaultdict(dict)
    for each in counted:
        merged[name_of(each)].setdefault(each.at, Tally()).merge(each.tally)
    return merged
