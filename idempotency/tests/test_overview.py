"""The overview and a request's picture: what is drawn is what was counted and journaled."""

import os
import socket
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path

from idempotency.console.charts import HEIGHT, MOST_SERIES, WIDTH, bars, lines
from idempotency.console.overview import MOST_PHASES, charts_of, kind_of, steps_of
from idempotency.console.picture import BREAK, LABEL, picture_of, spans_of
from idempotency.models import Heartbeat, IdempotencyKey
from idempotency.testing.clock import let_time_pass
from idempotency.tests.ledger import Fault
from idempotency.tests.reviewing import urlpatterns as of_the_bookshop
from idempotency.watching import counts
from idempotency.watching.counts import Counts, Series, Tally, count_refusal
from idempotency.watching.pulse import Pulse, version
from idempotency.watching.rollups import Counted, add_to_rollup
from idempotency.workers.completing import complete_due_keys

pytestmark = pytest.mark.django_db(transaction=True)

urlpatterns = [*of_the_bookshop, path("admin/", admin.site.urls)]

OVERVIEW = "/admin/idempotency/overview/"
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
STEPS = [NOON + MINUTE * number for number in range(4)]


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("operator@example.com"))
    return client


# The page.


def test_an_empty_system_says_that_there_is_no_traffic_yet(operator):
    page = operator.get(OVERVIEW).content.decode()

    assert "No traffic yet" in page
    assert "completer: not running" in page


def test_what_was_counted_is_drawn_and_a_tile_leads_to_what_it_counts(
    operator, customer, key, ledger
):
    ledger.faults = [Fault.ERROR_BEFORE]
    customer.send(key)
    add_to_rollup({Series("request", "Order", "client", "201"): _tally(0.02, 3)})
    add_to_rollup({Series("phase", "Order", "pay", ""): _tally(0.2, 3)})

    page = operator.get(OVERVIEW).content.decode()

    assert "No traffic yet" not in page
    assert "done: 3" in page
    assert "pay: " in page
    unknown = page.split("Unknown outcomes")[0].rpartition('<a href="')[2].partition('"')[0]
    [shown] = operator.get(unknown).context["cl"].result_list
    assert shown.idempotency_key == key


def test_each_phase_has_its_percentiles():
    """Of each operation's own: a name may be used twice."""
    counted = [
        Counted(NOON, Series("phase", operation, "pay", ""), _tally(seconds, 100))
        for operation, seconds in (("shop.Order", 2.0), ("school.Enrol", 0.02))
    ]
    charts = charts_of(counted, timedelta(hours=1), NOON)[-2:]

    assert [chart.title for chart in charts] == ["shop.Order: pay", "school.Enrol: pay"]
    for chart in charts:
        assert {shape.name for shape in chart.shapes} == {"half", "95 of 100", "99 of 100"}


def test_what_was_refused_before_a_view_has_a_chart_by_the_reason(operator, monkeypatch):
    monkeypatch.setattr(counts, "COUNTS", Counts())
    for code in ("overloaded", "overloaded", "unauthenticated"):
        count_refusal(code)
    with CaptureQueriesContext(connection) as queries:
        add_to_rollup(counts.COUNTS.take())
    assert len(queries) == 1

    [chart] = [
        chart
        for chart in operator.get(OVERVIEW).context["charts"]
        if chart.title == "Refused before a view"
    ]
    assert {shape.name: shape.total for shape in chart.shapes} == {
        "overloaded": 2,
        "unauthenticated": 1,
    }


def test_no_more_phases_are_drawn_than_a_person_looks_at():
    counted = [
        Counted(NOON, Series("phase", "Order", f"phase_{number}", ""), _tally(number / 10, 1))
        for number in range(1, 30)
    ]
    titles = [chart.title for chart in charts_of(counted, timedelta(hours=1), NOON)]

    of_phases = [title for title in titles if title.startswith("Order: ")]
    assert of_phases == [f"Order: phase_{number}" for number in range(29, 29 - MOST_PHASES, -1)]


@pytest.mark.parametrize("chosen", ["hour", "day", "week", "nonsense", ""])
def test_each_length_of_time_has_its_page(operator, chosen):
    add_to_rollup({Series("request", "Order", "client", "201"): _tally(0.02, 3)})
    response = operator.get(OVERVIEW, {"range": chosen})

    assert response.status_code == 200
    assert "done: 3" in response.content.decode()


def test_a_part_is_the_same_without_the_page_around_it(operator):
    part = operator.get(OVERVIEW, {"part": "1"}).content.decode()

    assert "Unfinished requests" in part
    assert "<html" not in part


def test_it_reads_a_few_bounded_statements_whatever_there_is(operator, customer, ledger):
    for worker in ("api", "completer"):
        Pulse(worker).beat()
    with CaptureQueriesContext(connection) as queries:
        operator.get(OVERVIEW)

    ours = [query["sql"] for query in queries if "idempotency_" in query["sql"]]
    assert len(ours) == 7
    assert all("LIMIT" in sql or "rollup" in sql or "heartbeat" in sql for sql in ours)


def test_a_worker_that_is_dead_is_said_first(operator):
    Pulse("completer").beat()
    page = operator.get(OVERVIEW).content.decode()

    assert page.index("enqueuer: not running") < page.index("Unfinished requests")
    assert "1 alive" in page


def test_a_workers_tile_leads_to_its_processes_with_host_number_and_version(operator):
    for worker in ("completer", "reaper"):
        Pulse(worker).beat()
    dead = {"host": "web-1", "pid": 7, "version": "of-yesterday"}
    Heartbeat.objects.create(worker="completer", seen_at=NOON - 100 * MINUTE, **dead)

    page = operator.get(OVERVIEW).content.decode()
    address = page.partition('class="name">completer')[0].rpartition('<a href="')[2]
    shown = operator.get(address.partition('"')[0])
    assert [row.worker for row in shown.context["cl"].result_list] == ["completer"] * 2
    for said in (socket.gethostname(), str(os.getpid()), version(), "web-1", "of-yesterday"):
        assert said in shown.content.decode()


@pytest.mark.parametrize(
    ("query", "hosts"),
    [
        ({"worker": "reaper"}, ["b"]),
        ({"state": "alive"}, ["b", "a"]),
        ({"state": "dead"}, ["web-1"]),
        ({"worker": "completer", "state": "alive"}, ["a"]),
        ({"q": "web"}, ["web-1"]),
        ({"q": "2"}, ["b"]),
        ({"q": "9" * 18}, []),
    ],
)
def test_workers_are_found_by_kind_state_host_and_number(operator, query, hosts):
    for number, (worker, host) in enumerate(
        [("completer", "a"), ("reaper", "b"), ("completer", "web-1")], start=1
    ):
        Heartbeat.objects.create(worker=worker, host=host, pid=number, version="")
    Heartbeat.objects.filter(host="web-1").update(seen_at=NOON - 100 * MINUTE)

    shown = operator.get("/admin/idempotency/heartbeat/", query).context["cl"].result_list
    assert [row.host for row in shown] == hosts


def test_who_may_not_see_it_does_not(customer):
    client = Client()
    assert client.get(OVERVIEW).status_code == 302
    client.force_login(customer.user)
    assert client.get(OVERVIEW).status_code == 403

    customer.user.user_permissions.add(Permission.objects.get(codename="view_overview"))
    assert client.get(OVERVIEW).status_code == 200
    assert client.post(OVERVIEW).status_code in (200, 403, 405)
    assert client.get(f"{OVERVIEW}add/").status_code == 403


def test_what_a_worker_says_is_written_as_text(operator):
    beating = Pulse("completer")
    beating.note_batch("<script>alert(1)</script>")
    beating.beat()

    assert "<script>alert(1)" not in operator.get(OVERVIEW).content.decode()


# Charts.


def _tally(seconds: float, count: int) -> Tally:
    tally = Tally()
    for _ in range(count):
        tally.add(seconds)
    return tally


def test_bars_are_stacked_and_the_highest_fills_the_drawing():
    values = {"done": {STEPS[0]: 3.0, STEPS[2]: 1.0}, "declined": {STEPS[0]: 1.0}}
    chart = bars("Requests", values, STEPS, step=MINUTE, unit="")

    assert chart.highest == "4"
    done, declined = chart.shapes
    assert (done.name, declined.name) == ("done", "declined")
    assert f"V{HEIGHT / 4:.1f}" in done.path  # three quarters
    assert "V0.0" in declined.path
    assert chart.moments[0].said == "Mon 12:00 to 12:01 UTC\ndone: 3\ndeclined: 1"
    assert chart.moments[1].said.endswith("nothing")
    assert chart.moments[-1].x + chart.moments[-1].width == pytest.approx(WIDTH)


def test_a_line_is_broken_where_nothing_was_counted():
    values = {"pay": {STEPS[0]: 10.0, STEPS[1]: 20.0, STEPS[3]: 5.0}}
    chart = lines("Phases", values, STEPS, step=MINUTE, unit="ms")

    assert chart.shapes[0].path.count("M") == 2
    assert chart.highest == "20 ms"


def test_no_more_series_than_can_be_told_apart_and_the_rest_are_said():
    values = {f"phase {number}": {STEPS[0]: float(number)} for number in range(1, 11)}
    chart = bars("Phases", values, STEPS, step=MINUTE, unit="")

    assert len(chart.shapes) == MOST_SERIES
    assert chart.left_out == 10 - MOST_SERIES
    assert chart.shapes[0].name == "phase 10"


def test_nothing_is_drawn_as_nothing():
    assert bars("Requests", {}, STEPS, step=MINUTE, unit="").is_empty
    assert lines("Requests", {}, STEPS, step=MINUTE, unit="").is_empty


def test_steps_lie_on_the_grid_of_the_rollup():
    steps = steps_of(timedelta(hours=1), MINUTE, NOON + timedelta(seconds=59))

    assert (len(steps), steps[-1]) == (60, NOON)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ("201", "done"),
        ("finished", "done"),
        ("202", "pending"),
        ("402", "declined"),
        ("replayed", "replayed"),
        ("outcome_unknown", "unknown"),
        ("internal_error", "failed"),
        ("parameters_mismatch", "refused"),
    ],
)
def test_an_outcome_is_of_a_kind(outcome, kind):
    assert kind_of(outcome) == kind


# A request's picture.


def test_each_attempt_is_a_lane_and_says_who_made_it(customer, key, stored, ledger):
    ledger.faults = [Fault.ERROR_BEFORE]
    customer.send(key)
    let_time_pass(timedelta(hours=1))
    complete_due_keys(10)
    picture = picture_of(stored())

    assert [(lane.name, lane.who) for lane in picture.lanes] == [
        ("attempt 1", "the client"),
        ("attempt 2", "the completer"),
    ]
    kinds = {bar.kind for bar in picture.bars}
    assert kinds == {"claim", "phase", "failure"}
    assert [bar.title for bar in picture.bars][:2] == ["claimed", "place_order"]


def test_a_long_pause_is_a_break_that_says_how_long_it_was(customer, key, stored, ledger):
    ledger.faults = [Fault.ERROR_BEFORE]
    customer.send(key)
    let_journal_age(stored(), timedelta(hours=3))
    customer.send(key)
    picture = picture_of(stored())

    [pause] = picture.breaks
    assert pause.said.startswith("3 h")
    assert pause.width == BREAK
    for bar in picture.bars:
        assert bar.x >= LABEL
        assert bar.x + bar.width <= picture.width + 0.1


def let_journal_age(key: IdempotencyKey, age: timedelta) -> None:
    journal = [
        {**entry, "at": (datetime.fromisoformat(entry["at"]) - age).isoformat()}
        for entry in key.journal
    ]
    IdempotencyKey.objects.filter(pk=key.pk).update(journal=journal)


def test_phases_that_share_a_commit_lie_one_after_the_other():
    at = NOON.isoformat()
    journal = [
        {"at": at, "event": "charge", "attempt": 1, "ms": 500.0},
        {"at": at, "event": "record", "attempt": 1, "ms": 20.0},
        {"at": at, "event": "receipt", "attempt": 1, "ms": 5.0},
    ]
    spans = list(spans_of(journal))

    assert [span.ended_at for span in spans[:-1]] == [span.began_at for span in spans[1:]]
    assert spans[-1].ended_at == NOON


def test_a_foreign_call_says_the_providers_own_id_and_whether_it_was_a_replay():
    entry = {
        "at": NOON.isoformat(),
        "event": "pay",
        "attempt": 1,
        "ms": 20.0,
        "calls": [{"request_id": "req_1", "status": 200, "replayed": True}],
    }
    [span] = spans_of([entry])

    assert span.kind == "call"
    assert "answer 200 req_1, a replay" in span.said


def test_a_tombstone_has_no_picture(operator, customer, key, stored, ledger):
    customer.send(key)
    IdempotencyKey.objects.update(journal=[])
    assert picture_of(stored()) is None

    page = operator.get(f"/admin/idempotency/idempotencykey/{stored().pk}/change/")
    assert "nothing to draw" in page.content.decode()


def test_the_picture_is_on_the_requests_page_and_its_words_are_text(
    operator, customer, key, stored, ledger
):
    customer.send(key)
    row = stored()
    row.journal[-1]["event"] = "<script>alert(1)</script>"
    IdempotencyKey.objects.update(journal=row.journal)
    page = operator.get(f"/admin/idempotency/idempotencykey/{row.pk}/change/").content.decode()

    assert 'class="key-picture"' in page
    assert "<script>alert(1)" not in page
