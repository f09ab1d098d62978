"""What is seen of the service from outside: counted in memory, told every ten seconds, and read."""

import os
import socket
import threading
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from idempotency.models import Heartbeat, IdempotencyKey, JobDelivery, Rollup
from idempotency.support.batches import Batch
from idempotency.testing.clock import let_time_pass
from idempotency.testing.queue import run_queued_jobs
from idempotency.tests.ledger import Fault
from idempotency.tests.reviewing import urlpatterns  # noqa: F401 - the bookshop's, and more
from idempotency.watching import counts, latest, pulse, rollups
from idempotency.watching.counts import LIMITS, Counts, Series, Tally
from idempotency.watching.pulse import Pulse
from idempotency.watching.rollups import add_to_rollup, quantile, read_rollup, remove_old_rollups
from idempotency.watching.standing import MOST_PLACES, said, standing
from idempotency.workers.completing import complete_due_keys

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
PATIENCE_SECONDS = 10
ORDER = "idempotency.tests.bookshop.PlaceOrder"


@pytest.fixture(autouse=True)
def counted(monkeypatch) -> Counts:
    """The process's counts, empty."""
    fresh = Counts()
    monkeypatch.setattr(counts, "COUNTS", fresh)
    return fresh


def told(counted: Counts, what: str) -> dict[tuple[str, str], int]:
    return {
        (series.name, series.outcome): tally.count
        for series, tally in counted.take().items()
        if series.what == what
    }


# Counting.


def test_requests_are_counted_by_how_they_ended(customer, key, counted, ledger):
    customer.send(key)
    customer.send(key)
    customer.send(key, title="Persuasion")
    customer.send("short")

    assert told(counted, "request") == {
        ("client", "201"): 1,
        ("client", "replayed"): 1,
        ("client", "parameters_mismatch"): 1,
        ("client", "idempotency_key_invalid"): 1,
    }


def test_phases_claims_and_failures_are_counted_once_they_are_committed(
    customer, key, counted, ledger
):
    ledger.faults = [Fault.ERROR_BEFORE]
    customer.send(key)
    seen = counted.take()
    names = {(series.what, series.name): tally for series, tally in seen.items()}

    assert names.keys() >= {("claim", "claimed"), ("failure", "outcome_unknown")}
    assert not any(series.name == "pay" for series in seen if series.what == "phase")

    let_time_pass(timedelta(hours=1))
    complete_due_keys(10)
    names = {(series.what, series.name) for series in counted.take()}
    assert names >= {("claim", "taken_by_completer"), ("request", "completer")}


def test_what_a_foreign_system_calls_its_status_is_in_the_way_of_nothing(
    customer, key, counted, stored, ledger
):
    customer.send(key)
    odd = [
        "O\x00K",
        "a status of a whole sentence",
        "x" * 150 + "1",
        "x" * 150 + "2",
        "",
        503,
        None,
    ]
    calls = [{"status": status} for status in odd]
    counts.count_entries(key=stored(), entries=[{"event": "pay", "calls": [*calls, {}]}])
    Pulse("completer").beat()

    told = Rollup.objects.filter(span="hour", what="answer").values_list("outcome", "count")
    assert dict(told) == {"other": 5, "503": 1, "None": 1, "none": 1}
    assert Heartbeat.objects.exists()


def test_counting_costs_no_statement(customer, key, counted, settings, ledger):
    customer.send(key)
    with CaptureQueriesContext(connection) as replayed:
        customer.send(key)

    assert len(replayed) == 2  # who asks, and the key
    assert counted.take()


def test_what_many_threads_count_is_all_there(counted):
    series = Series("request", ORDER, "client", "201")
    threads = [
        threading.Thread(target=lambda: [counted.add(series, 0.02) for _ in range(1000)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    [tally] = counted.take().values()
    assert tally.count == sum(tally.buckets) == 8000


# The rollup.


def test_two_processes_add_to_one_row_of_each_span():
    series = Series("request", ORDER, "client", "201")
    for seconds in (0.004, 0.2):
        tally = Tally()
        tally.add(seconds)
        add_to_rollup({series: tally})

    spans = sorted(Rollup.objects.values_list("span", "count"))
    assert spans == [("hour", 2), ("minute", 2), ("ten", 2)]
    [read] = read_rollup(HOUR, "request")
    assert read.series == series
    assert read.tally.count == 2
    assert [i for i, count in enumerate(read.tally.buckets) if count] == [0, 5]
    assert read.tally.seconds == pytest.approx(0.204)


def test_processes_that_add_the_same_at_once_do_not_stop_each_other(elsewhere):
    names = [f"series-{number}" for number in range(40)]

    def add(order) -> None:
        for _ in range(20):
            add_to_rollup({Series("phase", ORDER, name, ""): Tally(1, 0.1) for name in order})

    running = [elsewhere(add, names), elsewhere(add, names[::-1]), elsewhere(add, names[20:])]
    for thread in running:
        thread.result(timeout=30)

    of_minutes = Rollup.objects.filter(span="hour", name="series-25")
    assert sum(of_minutes.values_list("count", flat=True)) == 60


def test_what_is_old_is_removed_by_its_span():
    add_to_rollup({Series("phase", ORDER, "pay", ""): Tally(1, 0.1)})
    Rollup.objects.update(at="2026-01-01T00:00Z")
    add_to_rollup({Series("phase", ORDER, "pay", ""): Tally(1, 0.1)})

    remove_old_rollups()

    assert Rollup.objects.count() == 3


def test_names_longer_than_a_column_are_cut_and_refuse_nothing():
    add_to_rollup({Series("phase", "o" * 300, "n" * 300, "x" * 300): Tally(1, 0.1)})

    assert Rollup.objects.filter(span="hour").get().outcome == "x" * 100


@pytest.mark.parametrize(("share", "seconds"), [(0.5, 0.05), (0.99, 0.1), (0.0, 0.05)])
def test_a_quantile_lies_in_its_bucket(share, seconds):
    tally = Tally()
    for _ in range(100):
        tally.add(0.07)

    assert 0.05 <= quantile(tally, share) <= 0.1


def test_past_the_last_limit_a_quantile_is_that():
    tally = Tally()
    tally.add(1000)

    assert quantile(tally, 0.5) == LIMITS[-1]


# The pulse.


def test_a_beat_tells_what_was_counted_and_that_the_process_is_there(counted):
    counted.add(Series("request", ORDER, "client", "201"), 0.02)
    beating = Pulse("completer")
    beating.note_batch("succeeded=1")
    beating.beat()
    beating.beat()

    assert Rollup.objects.filter(span="hour").get().count == 1
    heartbeat = Heartbeat.objects.get()
    assert (heartbeat.worker, heartbeat.pid) == ("completer", os.getpid())
    assert heartbeat.last_batch == "succeeded=1"


def test_a_process_is_seen_at_once_and_its_last_beat_does_not_outlive_it(monkeypatch):
    told = threading.Event()
    beating = Pulse("completer")
    monkeypatch.setattr(pulse, "remove_old_rollups", told.set)
    monkeypatch.setattr(pulse, "REMOVE_EVERY_SECONDS", -1)
    beating.start()
    assert told.wait(PATIENCE_SECONDS)
    assert Heartbeat.objects.exists()

    beating.end()

    assert not beating.is_alive()
    assert not Heartbeat.objects.exists()


def test_what_could_not_be_told_is_told_the_next_time(counted, monkeypatch):
    counted.add(Series("request", ORDER, "client", "201"), 0.02)
    beating = Pulse("completer")
    with monkeypatch.context() as away:

        def fail(*_: object) -> None:
            raise OperationalError("away")

        away.setattr(pulse, "add_to_rollup", fail)
        beating.beat()
    counted.add(Series("request", ORDER, "client", "201"), 0.02)
    beating.beat()

    assert Rollup.objects.filter(span="hour").get().count == 2


def test_a_process_that_stops_takes_its_heartbeat_away_and_those_of_yesterday():
    Heartbeat.objects.create(worker="reaper", host="gone", pid=1, version="")
    Heartbeat.objects.update(seen_at="2026-01-01T00:00Z")
    beating = Pulse("completer")
    beating.beat()
    assert Heartbeat.objects.count() == 2

    beating.end()

    assert not Heartbeat.objects.exists()


# How it stands.


def tile(name: str):
    return next(tile for tile in standing().tiles if tile.name == name)


def test_an_unknown_outcome_is_counted_with_its_age(customer, key, ledger):
    ledger.faults = [Fault.ERROR_BEFORE]
    customer.send(key)
    assert (tile("unfinished").count, tile("unknown").count) == (1, 1)
    assert not tile("unknown").alarm

    let_time_pass(timedelta(minutes=20))

    assert tile("unknown").oldest_seconds == pytest.approx(1200, abs=60)
    assert tile("unknown").alarm


def test_what_is_finished_is_counted_nowhere(customer, key, ledger):
    customer.send(key)

    assert [each.count for each in standing().tiles if each.name != "staged"] == [0] * 6


def test_a_request_under_review_is_an_alarm_at_once(listed):
    listed()

    assert tile("review").count == 1
    assert "Need review: 1" in standing().alarms[0]


def test_jobs_are_counted_where_they_wait(stage):
    stage(what="said")
    assert (tile("staged").count, tile("owed").count) == (1, 0)

    call_command("enqueuer", "--once", stdout=StringIO())
    assert (tile("staged").count, tile("owed").count) == (0, 1)

    JobDelivery.objects.update(set_aside_at=Now())
    assert (tile("owed").count, tile("set_aside").count) == (0, 1)
    assert tile("set_aside").alarm


def test_a_dead_worker_shows_within_a_minute():
    Pulse("completer").beat()
    [completer] = [worker for worker in standing().workers if worker.name == "completer"]
    assert completer.standing == "1 alive"

    let_heartbeats_age(timedelta(seconds=50))

    [completer] = [worker for worker in standing().workers if worker.name == "completer"]
    assert completer.alarm
    assert completer.standing == "dead, last seen 50 s ago"


def let_heartbeats_age(age: timedelta) -> None:
    for heartbeat in Heartbeat.objects.all():
        Heartbeat.objects.filter(pk=heartbeat.pk).update(seen_at=heartbeat.seen_at - age)


def test_one_that_was_killed_is_no_news_where_another_has_taken_its_place():
    Pulse("completer").beat()
    Heartbeat.objects.update(pid=1)
    let_heartbeats_age(timedelta(minutes=5))
    Pulse("completer").beat()

    [completer] = [worker for worker in standing().workers if worker.name == "completer"]
    assert completer.standing == "1 alive"


def test_status_exits_with_1_where_somebody_should_look(listed):
    printed = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("status", stdout=printed)
    assert ended.value.code == 1
    assert "! completer             not running" in printed.getvalue()

    for worker in ("api", "completer", "enqueuer", "reaper", "worker"):
        Pulse(worker).beat()
    printed = StringIO()
    call_command("status", stdout=printed)
    assert "!" not in printed.getvalue()
    assert "completer             1 alive" in printed.getvalue()


def test_status_says_where_each_worker_runs_and_in_which_version():
    Pulse("reaper").beat()
    for number in range(1, MOST_PLACES + 3):
        Heartbeat.objects.create(worker="api", host=f"web-{number}", pid=number, version="2.1")
    printed = StringIO()
    with pytest.raises(SystemExit):
        call_command("status", stdout=printed)

    lines = printed.getvalue().splitlines()
    assert f"    {socket.gethostname()}:{os.getpid()} {pulse.version()}".rstrip() in lines
    [of_api] = [line for line in lines if "web-7:7 2.1" in line]
    assert of_api.count(":") == MOST_PLACES
    assert of_api.endswith(", and 2 more")


def test_alarms_are_told_without_waiting_and_read_again_once_they_are_old(listed, monkeypatch):
    monkeypatch.setattr(latest, "READINGS", latest.Readings())
    listed()
    assert latest.latest_alarms() == []

    assert latest.READINGS.begin().has_ended.wait(PATIENCE_SECONDS)
    first = latest.READINGS.ended()
    assert "Need review: 1, the oldest for 0 s" in latest.latest_alarms()
    assert latest.READINGS.ended() is first

    monkeypatch.setattr(latest, "READ_AGAIN_SECONDS", 0.0)
    latest.latest_alarms()
    assert latest.READINGS.begin().has_ended.wait(PATIENCE_SECONDS)
    assert latest.READINGS.ended() is not first


def test_a_reading_that_fails_has_found_nothing_and_the_next_one_looks(monkeypatch):
    def fail() -> None:
        raise OperationalError("away")

    with monkeypatch.context() as away:
        away.setattr(latest, "standing", fail)
        assert latest.read_standing() is None
    assert latest.read_standing() is not None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (3700, "1 h 1 min"), (90_000, "1 d 1 h")],
)
def test_a_length_of_time_is_said_in_two_units(seconds, words):
    assert said(seconds) == words


def test_a_job_is_counted_and_felt(stage, counted):
    stage(what="said")
    call_command("enqueuer", "--once", stdout=StringIO())
    run_queued_jobs(10)

    assert told(counted, "job") == {("idempotency.tests.tasks.note", "done"): 1}


def test_a_batch_of_the_loop_is_what_a_worker_last_did(monkeypatch):
    felt = Pulse("completer")
    monkeypatch.setattr(pulse, "pulse_of", lambda worker: felt)
    pulse.feel_batch(worker="completer", batch=Batch({"succeeded": 2}))
    pulse.feel_batch(worker="completer", batch=Batch({"succeeded": 0}))

    assert felt.last_batch == "succeeded=2"


def test_the_rollup_is_read_by_its_index():
    add_to_rollup({Series("phase", ORDER, "pay", ""): Tally(1, 0.1)})
    values = {"span": "minute", "lasts": HOUR, "whats": ["phase"], "timed": []}
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {rollups.READ_ROLLUP}", values)
        plan = "\n".join(row[0] for row in cursor.fetchall())

    assert IdempotencyKey.objects.count() == 0
    assert "rollup_series_once_in_a_span" in plan
