"""An old snapshot keeps every dead row in place, and no worker's look may read them all each time.

A forgotten transaction, a dump, a replication slot: vacuum takes nothing while it lasts. What is
counted is pages, which are the same on any machine.
"""

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from idempotency import claims
from idempotency.claims import take_over_next_due_key
from idempotency.leases import growth_of_journal
from idempotency.models import IdempotencyKey, ReaperPosition
from idempotency.support.positions import Position, beginning
from idempotency.workers import reaping, snapshots
from idempotency.workers.completing import complete_due_keys
from idempotency.workers.overdue import Overdue
from idempotency.workers.reaping import reap, reap_finished_keys

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fresh_tables")]

DEAD = 30_000
FEW_PAGES = 30

FILL = """
INSERT INTO idempotency_idempotencykey
       (user_id, idempotency_key, request_method, request_path, request_params, fingerprint,
        foreign_key, lease_token, created_at, last_run_at, run_after, attempt, recovery_point,
        last_error, journal, response_code, response_body, response_content_type)
SELECT %(user_id)s, %(name)s || '-a-key-long-enough-' || n, 'POST', '/orders', '{}', '',
       gen_random_uuid(), gen_random_uuid(), at, at, at, 1, %(point)s, '',
       '[]', CASE %(point)s WHEN 'finished' THEN 201 END, %(body)s::bytea,
       CASE WHEN %(body)s::text IS NOT NULL THEN 'application/json' END
  FROM generate_series(1, %(rows)s) AS n,
       LATERAL (SELECT now() - %(age)s - n * interval '1 ms' AS at) AS t
"""


@pytest.fixture
def old_snapshot():
    """A transaction of another session, which sees the tables as they were before the test."""
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SET idle_in_transaction_session_timeout = 0")
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT count(*) FROM idempotency_idempotencykey")
        yield
        cursor.execute("ROLLBACK")
    other.close()


@pytest.fixture
def keys(customer):
    """Fill the table: keys of a name, at a recovery point, that old, with or without an answer."""

    def fill(rows, *, point, age, name="old", body=None):
        values = {"user_id": customer.user.pk, "rows": rows, "point": point, "age": age}
        with connection.cursor() as cursor:
            cursor.execute(FILL, {**values, "name": name, "body": body})

    return fill


def pages_of(work):
    """The pages that the statements of some work read, run again to be counted."""
    with CaptureQueriesContext(connection) as queries:
        work()
    looks = [
        query["sql"] for query in queries if re.match(r"\s*(SELECT|WITH|UPDATE)", query["sql"])
    ]
    return sum(map(pages_of_statement, looks))


def pages_of_statement(statement):
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
        [explained] = cursor.fetchone()[0]
        cursor.execute("ROLLBACK")
    plan = explained["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


# The reaper.


def test_the_idle_reaper_passes_over_tombstones_that_were_removed(old_snapshot, keys):
    keys(DEAD, point="finished", age=timedelta(days=40), body="{}")
    keys(1, point="finished", age=timedelta(days=1), body="{}", name="young")
    overdue = Overdue()

    assert reap(DEAD, overdue).details["removed"] == DEAD
    assert not reap(100, overdue).did_something
    assert pages_of(lambda: reap(100, overdue)) < FEW_PAGES


def test_the_idle_reaper_passes_over_requests_that_were_finished(old_snapshot, keys):
    keys(DEAD, point="ordered", age=timedelta(days=1))
    IdempotencyKey.objects.all().delete()
    overdue = Overdue()

    assert not reap(100, overdue).did_something
    assert pages_of(lambda: reap(100, overdue)) < FEW_PAGES


def test_a_batch_of_tombstones_begins_where_the_last_one_ended(old_snapshot, keys):
    keys(DEAD, point="finished", age=timedelta(days=40))
    overdue = Overdue()

    assert reap(DEAD - 100, overdue).details["removed"] == DEAD - 100
    overdue.look()

    found = "SELECT * FROM idempotency_idempotencykey WHERE recovery_point = 'finished'"
    assert overdue.tombstones
    assert pages_of_statement(f"{found} AND last_run_at >= '{overdue.position.at}'") < 300
    assert reap(1_000, overdue).details["removed"] == 100


def test_a_batch_of_answers_does_not_ask_for_unfinished_requests_each_time(old_snapshot, keys):
    keys(DEAD, point="ordered", age=timedelta(hours=1))
    IdempotencyKey.objects.all().delete()
    keys(30, point="finished", age=timedelta(days=4), body="{}")
    overdue = Overdue()

    assert reap(10, overdue).counts["reaped"] == 10
    assert pages_of(lambda: reap(10, overdue)) < 10 * FEW_PAGES
    assert IdempotencyKey.objects.filter(response_body=None).count() == 20


def test_a_look_at_all_that_takes_long_is_made_the_more_seldom(monkeypatch):
    now = iter([1_000.0, 1_010.0, 1_509.0, 1_510.0, 1_510.1])
    monkeypatch.setattr("idempotency.support.positions.time.monotonic", lambda: next(now))
    position = Position()
    looks = []

    for _ in range(3):
        with position.look() as looks_at_all:
            looks.append(looks_at_all)

    assert looks == [True, False, True]
    assert position.looks_at_all_from == 1_570.1


def test_what_came_before_the_position_is_found_a_minute_later(keys):
    overdue = Overdue()
    assert not reap(10, overdue).did_something

    keys(1, point="finished", age=timedelta(days=40))
    keys(1, point="ordered", age=timedelta(days=40), name="unfinished")
    ReaperPosition.objects.all().delete()
    assert not reap(10, overdue).did_something
    overdue.position.looks_at_all_from = 0.0

    done = reap(10, overdue)
    assert (done.details["removed"], done.details["needs_review"]) == (1, 1)


def test_answers_stay_as_long_as_an_older_request_may_still_finish(keys):
    keys(1, point="ordered", age=timedelta(days=5), name="unfinished")
    keys(5, point="finished", age=timedelta(days=4), body="{}")
    overdue = Overdue()
    overdue.look()

    assert reap_finished_keys(10, overdue) == 0


# The completer.


def test_the_idle_completer_passes_over_requests_that_were_finished(old_snapshot, keys):
    keys(DEAD, point="ordered", age=timedelta(days=1))
    IdempotencyKey.objects.all().delete()
    position = Position()

    assert complete_due_keys(10, position=position).total == 0
    assert pages_of(lambda: complete_due_keys(10, position=position)) < FEW_PAGES


def test_a_completer_that_catches_up_takes_the_last_key_like_the_first(old_snapshot, keys):
    keys(2_000, point="ordered", age=timedelta(days=1))
    position = Position()

    first = pages_of(lambda: take_over_next_due_key(position))
    for _ in range(1_500):
        assert take_over_next_due_key(position)

    assert pages_of(lambda: take_over_next_due_key(position)) < first + 2 * FEW_PAGES


def test_a_key_that_somebody_works_on_is_not_passed_over(keys):
    keys(2, point="ordered", age=timedelta(days=1))
    position = Position()
    held = IdempotencyKey.objects.order_by("run_after").first()
    IdempotencyKey.objects.filter(pk=held.pk).update(locked_at=Now())

    assert complete_due_keys(10, position=position).total == 1
    assert complete_due_keys(10, position=position).total == 0
    IdempotencyKey.objects.filter(pk=held.pk).update(locked_at=None)
    assert complete_due_keys(10, position=position).total == 1


def test_a_key_that_came_before_the_position_is_found_a_minute_later(keys):
    position = Position()
    assert complete_due_keys(10, position=position).total == 0
    keys(1, point="ordered", age=timedelta(days=1))

    assert complete_due_keys(10, position=position).total == 0
    position.looks_at_all_from = 0.0
    assert complete_due_keys(10, position=position).total == 1


# A limit is a limit, whatever the planner believes.


@pytest.fixture(params=["hash join", "nested loop", "merge join"])
def planned_badly(request, keys):
    """The table's statistics are from when it was empty, and few ways to join are left."""
    with connection.cursor() as cursor:
        # So that no row is read which another test has left dead.
        cursor.execute("TRUNCATE idempotency_idempotencykey CASCADE")
        cursor.execute("ANALYZE idempotency_idempotencykey")
        keys(500, point="ordered", age=timedelta(days=4), name="unfinished")
        keys(500, point="finished", age=timedelta(days=40), name="tombstone")
        keys(500, point="finished", age=timedelta(days=5), name="answer", body="{}")
        cursor.execute(reaping.BEGIN_BEFORE_ALL_KEYS)
        ways = {
            "hash join": ["enable_nestloop", "enable_mergejoin"],
            "nested loop": ["enable_hashjoin", "enable_mergejoin", "enable_hashagg"],
            "merge join": ["enable_hashjoin", "enable_nestloop"],
        }
        for setting in ["enable_material", "enable_memoize", *ways[request.param]]:
            cursor.execute(f"SET {setting} = off")
        yield cursor
        cursor.execute("RESET ALL")


VALUES = {
    "event": "taken",
    "said": "{}",
    "recovery_point": None,
    "lock_timeout": timedelta(seconds=90),
    "completer_pause": timedelta(seconds=60),
    **growth_of_journal(1),
    "completer_attempts": 1,
    "clock_tolerance": timedelta(seconds=5),
    "unfinished_since": None,
    "begin_at": beginning(),
    "begin_id": 0,
    "retention": timedelta(days=3),
    "lease_token": uuid4(),
    "limit": 10,
}


@pytest.mark.parametrize(
    ("module", "name", "taken"),
    [
        (claims, "TAKE_OVER_NEXT_DUE_KEY", 1),
        (claims, "TAKE_OVER_NEXT_OVERDUE_KEY", 1),
        (reaping, "REAP_FINISHED_KEYS", 10),
        (reaping, "FIND_OLD_TOMBSTONES", 10),
    ],
)
def test_a_statement_that_takes_some_of_many_chooses_them_once(planned_badly, module, name, taken):
    planned_badly.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {getattr(module, name)}", VALUES)
    [explained] = planned_badly.fetchone()[0]
    plan = list(nodes(explained["Plan"]))

    limits = [node for node in plan if node["Node Type"] == "Limit"]
    locks = [node for node in plan if node["Node Type"] in ("LockRows", "ModifyTable")]
    assert max(node["Actual Loops"] for node in limits) == 1
    assert max(node["Actual Rows"] * node["Actual Loops"] for node in [*limits, *locks]) <= taken
    if module is claims:
        assert max(map(rows_read, plan)) <= (1 if "DUE" in name else 500)
    tombstones = IdempotencyKey.objects.filter(response_body=None, recovery_point="finished")
    assert tombstones.count() - 500 == (taken if name == "REAP_FINISHED_KEYS" else 0)


def rows_read(node):
    return (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]


def nodes(node):
    yield node
    for child in node.get("Plans", []):
        yield from nodes(child)


# Telling of it.


@pytest.fixture
def told(caplog):
    """What a watch logs when it looks, whenever it looked before."""

    def look(watch):
        caplog.clear()
        watch._looks_from = 0.0
        watch.look()
        return [record.getMessage() for record in caplog.records]

    return look


@pytest.mark.usefixtures("own_session")
def test_a_snapshot_that_became_too_old_is_told_once_with_its_session(
    old_snapshot, told, monkeypatch
):
    watch = snapshots.SnapshotWatch()
    assert told(watch) == []

    monkeypatch.setattr(snapshots, "TOO_OLD", timedelta(0))
    [line] = told(watch)

    assert re.search(r"minutes=0 pid=\d+ since=\S+ \S+ user=\w+ .*state=\"idle in trans", line)
    assert told(watch) == []


@pytest.mark.usefixtures("own_session")
def test_an_idle_transaction_that_has_changed_something_is_told_too(told, monkeypatch):
    monkeypatch.setattr(snapshots, "TOO_OLD", timedelta(0))
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT 1")
        assert told(snapshots.SnapshotWatch()) == []
        cursor.execute("SELECT pg_current_xact_id()")

        assert len(told(snapshots.SnapshotWatch())) == 1
        cursor.execute("ROLLBACK")
    other.close()


def test_a_watch_looks_once_a_minute(django_assert_num_queries):
    watch = snapshots.SnapshotWatch()

    with django_assert_num_queries(1):
        watch.look()
        watch.look()
