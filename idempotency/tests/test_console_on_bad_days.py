"""What other consoles got wrong, tried on this one: zones and clocks, pids that are used again,
outages that are too long for a picture, names that are too long for a column.
"""

import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db.models.functions import Now
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from idempotency.console.picture import picture_of
from idempotency.models import Heartbeat
from idempotency.tests.test_acts import KEYS, operator, unfinished, urlpatterns
from idempotency.watching.counts import Series, Tally
from idempotency.watching.ended import add_up_ended
from idempotency.watching.pulse import REMOVE_EVERY_SECONDS, Pulse
from idempotency.watching.rollups import add_to_rollup, read_rollup
from idempotency.watching.standing import MOST_PROCESSES, standing

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["operator", "unfinished", "urlpatterns"]

ADMIN = "/admin/idempotency/"
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
BOOKED = Series("request", "Order", "client", "201")


def once(seconds: float = 0.1) -> Tally:
    tally = Tally()
    tally.add(seconds)
    return tally


# A request's picture.


def attempted(count: int) -> list[dict[str, Any]]:
    """Return the journal of so many attempts, an hour apart."""
    journal: list[dict[str, Any]] = []
    for attempt in range(1, count + 1):
        at = NOON + timedelta(hours=attempt)
        ended = (at + timedelta(milliseconds=300)).isoformat()
        taken = {"at": at.isoformat(), "event": "taken_by_completer", "attempt": attempt}
        failed = {"at": ended, "event": "outcome_unknown", "attempt": attempt, "ms": 250.0}
        journal += [taken, {**failed, "error": "x"}]
    return journal


@pytest.mark.parametrize("attempts", [1, 17, 18, 30, 100])
def test_every_attempt_of_a_long_outage_lies_within_the_picture(attempts):
    picture = picture_of(SimpleNamespace(journal=attempted(attempts)))

    assert max(bar.x + bar.width for bar in picture.bars) <= picture.width + 0.1
    assert all(each.x + each.width <= picture.width for each in picture.breaks)


def test_a_picture_begins_with_the_earliest_though_the_clock_was_set_back():
    earlier = {"at": (NOON - timedelta(hours=1)).isoformat(), "event": "retried", "attempt": 2}
    picture = picture_of(SimpleNamespace(journal=[*attempted(1), earlier]))

    assert picture.began == "2026-11-30 11:00:00 UTC"


# Zones.


def test_what_is_said_to_be_utc_is_so_in_any_zone(operator, settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    page = operator.get(f"{ADMIN}overview/").content.decode()
    said = re.search(r"Read at <time[^>]*>(\d\d:\d\d)", page)

    now = datetime.now(UTC)
    assert said[1] in (f"{now:%H:%M}", f"{now - timedelta(minutes=1):%H:%M}")


def test_the_timeline_has_the_times_of_the_picture_in_any_zone(operator, settings, unfinished):
    settings.TIME_ZONE = "Asia/Tokyo"
    [key] = unfinished(1)
    page = operator.get(f"{KEYS}{key.pk}/change/").content.decode()

    at = key.journal[0]["at"]
    assert f'<time datetime="{at}">{at[:19].replace("T", " ")}' in page


@pytest.mark.parametrize("which", ["hour", "day", "week"])
def test_a_project_without_zones_has_its_charts(operator, settings, which):
    add_to_rollup({BOOKED: once()})
    settings.USE_TZ, settings.TIME_ZONE = False, "Asia/Tokyo"

    assert "done: 1" in operator.get(f"{ADMIN}overview/?range={which}").content.decode()


# Heartbeats.


def test_a_newer_version_under_the_same_host_and_pid_is_seen():
    """As of a container that was killed, and has its name and its pid again."""
    Pulse("completer").beat()
    Heartbeat.objects.update(version="an older one")
    Pulse("completer").beat()

    assert Heartbeat.objects.get().version != "an older one"


def test_a_dead_one_is_dead_after_the_clock_was_set_right():
    ahead = Now() + timedelta(hours=1)
    Heartbeat.objects.create(worker="completer", host="a", pid=1, seen_at=ahead)
    [completer] = [each for each in standing().workers if each.name == "completer"]

    assert completer.alarm


def test_what_was_killed_long_ago_is_neither_read_nor_kept():
    then = Now() - timedelta(days=3)
    Heartbeat.objects.bulk_create(
        Heartbeat(worker="worker", host=f"host-{number}", pid=1, seen_at=then)
        for number in range(MOST_PROCESSES + 1)
    )
    pulse = Pulse("completer")
    pulse.beat()
    now = {each.name: each for each in standing().workers}
    assert now["completer"].alive == 1
    assert now["worker"].standing.startswith("dead, last seen 3 d")

    pulse._removed_at -= REMOVE_EVERY_SECONDS + 1
    pulse.beat()
    assert Heartbeat.objects.get().worker == "completer"


# What is counted.


@pytest.mark.parametrize("tails", [("a", "b"), ("\0", "")])
def test_names_that_are_alike_in_their_columns_are_added_up(tails):
    """Or nothing would be told any more, since what was not told is told again with the rest."""
    add_to_rollup({BOOKED._replace(outcome="x" * 100 + tail): once() for tail in tails})

    [row] = read_rollup(timedelta(hours=1), "request")
    assert row.tally.count == 2


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -5.0])
def test_a_length_that_is_none_harms_no_page(operator, seconds):
    add_to_rollup({BOOKED: once(seconds), Series("phase", "Order", "pay", ""): once(seconds)})

    assert operator.get(f"{ADMIN}overview/").status_code == 200


def test_names_that_are_counted_are_text(operator):
    script = '"><script>alert(1)</script>'
    whats = ("request", "phase", "failure", "claim", "answer", "finished")
    add_to_rollup({Series(what, script, script, script): once() for what in whats})
    Heartbeat.objects.create(worker="completer", host=script, pid=1, last_batch=script)

    assert "<script>alert" not in operator.get(f"{ADMIN}overview/").content.decode()


def test_a_file_of_one_that_was_killed_before_it_counted_is_in_nobodys_way(tmp_path):
    (tmp_path / "counter_999999999.db").touch()
    add_up_ended(tmp_path)

    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))
    assert generate_latest(registry) == b""
