"""What is done with a database of one size: fill it with finished keys, and measure it.

The keys are made by `generate_series`, not by requests, and alone: what a request or a worker reads
besides them is found by the key's own id. Each figure is a median, in milliseconds. Requests go one
after the other to a real API process; workers and pages run in this one. Imported once Django is
set up.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import requests
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection, reset_queries
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from idempotency import conf
from idempotency.claims import FIND_KEY
from idempotency.console.overview import RANGES, READ
from idempotency.management.commands import enqueuer
from idempotency.models import FINISHED, IdempotencyKey, JobDelivery
from idempotency.watching.rollups import read_rollup
from idempotency.watching.standing import standing
from idempotency.workers.completing import complete_due_keys
from idempotency.workers.reaping import reap, reap_finished_keys, remove_tombstones
from rides.operations import RIDE_CREATED, CreateRide

BATCH = 500
BATCHES = 12
OVERDUE = BATCH * BATCHES

REQUESTS = 300
CYCLES = 10_000  # a second or two: a shorter disturbance leaves the median alone
KEYS = 100

RIDER = "rider-0@example.com"
COORDINATES = {"origin_lat": "0", "origin_lon": "0", "target_lat": "0", "target_lon": "0"}
LIST_PAGE = "/admin/idempotency/idempotencykey/"
OVERVIEW = "/admin/idempotency/overview/"

PAGES = "pages read to find a key"
BYTES = "bytes of table and indexes, for a key"
CONTROL = "control: a commit elsewhere"
LATEST = "looked for in the latest: declined"  # of ten thousand there are not so many
NOT_JUDGED = (CONTROL, PAGES, BYTES, LATEST)

Figures = dict[str, float]
Work = Callable[[], object]

# Copies of the first request, ten a millisecond, so that ten million are a quarter of an hour's.
FINISHED_KEYS = """
INSERT INTO idempotency_idempotencykey
       (user_id, idempotency_key, operation, path_kwargs, request_method, request_path,
        request_params, fingerprint, origin_ip, foreign_key, lease_token, created_at, last_run_at,
        run_after, attempt, recovery_point, foreign_sent_at, response_code, response_body,
        response_content_type, response_headers, last_error, journal)
SELECT user_id, gen_random_uuid(), operation, path_kwargs, request_method, request_path,
       request_params, fingerprint, origin_ip, gen_random_uuid(), gen_random_uuid(), at, at,
       at, attempt, recovery_point, at, response_code, response_body,
       response_content_type, response_headers, last_error, journal
  FROM (SELECT * FROM idempotency_idempotencykey ORDER BY id LIMIT 1) AS first,
       (SELECT now() - %(age)s::interval - n * interval '100 microseconds' AS at
          FROM generate_series(1, %(keys)s) AS n) AS filled
"""

# As an outage of Stripe's leaves them: the ride is recorded, its charge is not.
DUE_KEYS = """
WITH due AS (
    INSERT INTO idempotency_idempotencykey
           (user_id, idempotency_key, operation, request_method, request_path, request_params,
            fingerprint, foreign_key, lease_token, created_at, last_run_at, run_after, attempt,
            recovery_point, foreign_sent_at, last_error, journal)
    SELECT rider.id, 'left-by-an-outage-' || gen_random_uuid(), %(operation)s, 'POST', '/rides',
           '{"origin_lat": {"decimal": "0"}, "origin_lon": {"decimal": "0"},
             "target_lat": {"decimal": "0"}, "target_lon": {"decimal": "0"}}',
           md5(n::text), gen_random_uuid(), gen_random_uuid(),
           now() - interval '1 hour', now() - interval '1 hour', now() - interval '1 minute', 1,
           %(recovery_point)s, now() - interval '1 hour', '', '[]'
      FROM rides_user AS rider, generate_series(1, %(keys)s) AS n
     WHERE rider.email = %(rider)s
 RETURNING id, user_id, foreign_key, created_at
)
INSERT INTO rides_ride
       (idempotency_key_id, user_id, foreign_key, created_at,
        origin_lat, origin_lon, target_lat, target_lon, amount_cents, currency)
SELECT id, user_id, foreign_key, created_at, 0, 0, 0, 0, 2000, 'usd' FROM due
"""

# What a busy week leaves in the rollup: forty series in each span of time.
A_WEEK_OF_TRAFFIC = """
INSERT INTO idempotency_rollup
       (span, at, what, operation, name, outcome, count, seconds, buckets)
SELECT span, date_bin(lasts, now(), 'epoch') - n * lasts, what, 'rides.CreateRide',
       'series-' || series, '201', 100, 5, '{0,0,50,50,0,0,0,0,0,0,0,0,0}'
  FROM (VALUES ('minute', interval '1 minute', 120), ('ten', '10 minutes', 216),
               ('hour', '1 hour', 840)) AS spans (span, lasts, kept),
       generate_series(0, kept - 1) AS n,
       unnest(ARRAY['request', 'phase', 'failure', 'claim', 'answer']) AS what,
       generate_series(1, 8) AS series
    ON CONFLICT DO NOTHING
"""

MEASURE_KEYS = """
SELECT pg_total_relation_size('idempotency_idempotencykey') / count(*)
  FROM idempotency_idempotencykey
"""


def measure(api: str, size: int) -> Figures:
    """Every figure with `size` finished keys, in the order of the table.

    One request must have been answered already: the keys are its copies. None is left that is due
    or overdue.
    """
    fill_up_to(size, overdue=OVERDUE)
    return {
        CONTROL: median_ms(_commit_elsewhere, CYCLES),
        PAGES: _pages_to_find_a_key(),
        BYTES: bytes_a_key(),
        **_requests(api),
        **_pages_of_the_admin(),
        **_enqueuer(),
        **_completer(),
        **_reaper(),
    }


def fill_up_to(size: int, *, overdue: int) -> None:
    """Add finished keys until there are `size`, among them `overdue` more that may be reaped."""
    missing = size - IdempotencyKey.objects.count()
    assert missing >= overdue, f"{size:,} keys have no room for {overdue:,} overdue ones"
    _execute(FINISHED_KEYS, age="4 days", keys=overdue)
    _execute(FINISHED_KEYS, age="1 hour", keys=missing - overdue)
    settle()


def bytes_a_key() -> float:
    return float(_execute(MEASURE_KEYS)[0][0])


def leave_due_keys(keys: int) -> None:
    where = {"operation": CreateRide.name, "recovery_point": RIDE_CREATED}
    _execute(DUE_KEYS, keys=keys, rider=RIDER, **where)


def unfinished_keys() -> int:
    return IdempotencyKey.objects.exclude(recovery_point=FINISHED).count()


def settle() -> None:
    """Do now what autovacuum and the checkpointer would do during the measurement."""
    _execute("VACUUM (ANALYZE)")
    _execute("CHECKPOINT")


def _execute(statement: str, **values: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def book(api: str, session: requests.Session, key: str | None = None) -> None:
    headers = {"Authorization": RIDER, "Idempotency-Key": key or uuid4().hex}
    answer = session.post(f"{api}/rides", data=COORDINATES, headers=headers, timeout=30)
    assert answer.status_code == 201, answer.text


def median_ms(work: Work, times: int) -> float:
    """How long it takes; the first time is not counted."""
    took = []
    for _ in range(times + 1):
        began_at = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - began_at))
    return statistics.median(took[1:])


def _requests(api: str) -> Figures:
    session, key = requests.Session(), uuid4().hex
    median_ms(lambda: book(api, session), KEYS)  # until every thread has its connection
    return {
        "a fresh ride": median_ms(lambda: book(api, session), REQUESTS),
        "a replay": median_ms(lambda: book(api, session, key), REQUESTS),
    }


def _client_of_staff() -> Client:
    staff, _ = get_user_model().objects.get_or_create(
        email="bench@example.com", is_staff=True, is_superuser=True
    )
    client = Client(SERVER_NAME="localhost")
    client.force_login(staff)
    return client


def plans_of_the_overview() -> str:
    """Return each statement that the page of a week sends, with PostgreSQL's plan of it as run."""
    client = _client_of_staff()
    reset_queries()  # the log of them is full
    with CaptureQueriesContext(connection) as captured:
        assert client.get(f"{OVERVIEW}?range=week").status_code == 200
    sent = [query["sql"].strip() for query in captured]
    plans = [_execute(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {statement}") for statement in sent]
    return "\n\n".join(
        "\n".join([statement, "", *(line for [line] in plan)])
        for statement, plan in zip(sent, plans, strict=True)
    )


def _pages_of_the_admin() -> Figures:
    client = _client_of_staff()
    newest = IdempotencyKey.objects.latest("id")
    _execute(A_WEEK_OF_TRAFFIC)
    settle()

    def look(page: str) -> None:
        assert client.get(page).status_code == 200, page

    def median_of(page: str) -> float:
        return median_ms(lambda: look(page), KEYS)

    return {
        "the admin's list of keys": median_of(LIST_PAGE),
        "the admin's page of a key": median_of(f"{LIST_PAGE}{newest.pk}/change/"),
        "found by the beginning of a key": median_of(
            f"{LIST_PAGE}?q={newest.idempotency_key[:12]}"
        ),
        "found by nothing that is there": median_of(f"{LIST_PAGE}?q=nobody-has-this"),
        "found by a rider": median_of(f"{LIST_PAGE}?q={RIDER}"),
        "saved view: unknown": median_of(f"{LIST_PAGE}?saved=unknown"),
        LATEST: median_of(f"{LIST_PAGE}?saved=declined"),
        "the overview of an hour": median_of(OVERVIEW),
        "the overview of a day": median_of(f"{OVERVIEW}?range=day"),
        "the overview of a week": median_of(f"{OVERVIEW}?range=week"),
        "the overview of a week, in the database": median_ms(_read_a_week, KEYS),
    }


def _read_a_week() -> None:
    standing()
    read_rollup(RANGES["week"], *READ)


def _enqueuer() -> Figures:
    """The rides that were booked owe a receipt each."""
    enqueue = enqueuer.Command().run_batch
    one = median_ms(lambda: enqueue(1), KEYS)
    enqueue(BATCH)
    JobDelivery.objects.all().delete()  # as the workers would, or they were handed over again
    settle()
    return {
        "the enqueuer, one job": one,
        "the enqueuer, nothing to do": median_ms(lambda: enqueue(BATCH), CYCLES),
    }


def _completer() -> Figures:
    leave_due_keys(KEYS + 1)
    return {
        "the completer, one key": median_ms(_complete_one, KEYS),
        "the completer, nothing to do": median_ms(lambda: complete_due_keys(BATCH), CYCLES),
    }


def _reaper() -> Figures:
    answers = median_ms(lambda: _whole_batch(reap_finished_keys), BATCHES - 1)
    settle()
    horizon = {"TOMBSTONE_RETENTION": conf.current().retention}
    with override_settings(IDEMPOTENCY={**settings.IDEMPOTENCY, **horizon}):
        tombstones = median_ms(lambda: _whole_batch(remove_tombstones), BATCHES - 1)
    return {
        f"the reaper, {BATCH:,} answers": answers,
        f"the reaper, {BATCH:,} tombstones": tombstones,
        "the reaper, nothing to do": median_ms(lambda: reap(BATCH), CYCLES),
    }


def _whole_batch(take: Callable[[int], int]) -> None:
    assert take(BATCH) == BATCH


def _complete_one() -> None:
    assert complete_due_keys(1).counts["succeeded"] == 1


def _commit_elsewhere() -> None:
    """What a durable commit costs at this moment, whatever the size of the keys' table."""
    get_user_model().objects.filter(email=RIDER).update(is_active=True)


def _pages_to_find_a_key() -> float:
    """The height of the index, and the row itself. The first time the catalogue is read as well."""
    oldest = IdempotencyKey.objects.earliest("id")
    key: dict[str, Any] = {"user_id": oldest.user_id, "idempotency_key": oldest.idempotency_key}
    with connection.cursor() as cursor:
        for _ in range(2):
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {FIND_KEY}", key)
            [explained] = cursor.fetchone()[0]
    plan = explained["Plan"]
    return float(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
