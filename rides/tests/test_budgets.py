"""What a request and an idle worker may cost: statements, commits and pages, without a clock.

Each is counted twice, by Django and by the server, which is told to report every statement that it
gets. Production pays for these numbers with each request: a commit is a flush of the disk.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection, transaction
from django.db.backends.postgresql.psycopg_any import is_psycopg3
from django.test import Client
from django.test.utils import CaptureQueriesContext

from rides.models import User
from rides.tests.booking import BOOKED, COORDINATES, KEY, RIDER, run
from rides.tests.factories import RiderFactory

FRESH_COMMITS = 2
FRESH_STATEMENTS = 9
REPLAY_STATEMENTS = 3
REFUSED_STATEMENTS = 1  # the credential's
FORM_REFUSED_STATEMENTS = 3  # and the key's: before the form is asked, and once it has refused

IDLE_STATEMENTS = 1
IDLE_PAGES = 10
"""Of 100,000 keys: down each of the indexes to its first entry, and to that one's row."""

FINISHED_KEYS = 100_000
FILL = """
INSERT INTO idempotency_idempotencykey
       (user_id, idempotency_key, request_method, request_path, request_params, fingerprint,
        foreign_key, lease_token, created_at, last_run_at, run_after, attempt, recovery_point,
        last_error, journal, response_code, response_body, response_content_type)
SELECT %(user_id)s, 'a-finished-key-number-' || n, 'POST', '/rides', '{}', '',
       gen_random_uuid(), gen_random_uuid(), at, at, at, 1, 'finished', '',
       '[]', 201, CASE WHEN n <= %(answers)s THEN '{}'::bytea END,
       CASE WHEN n <= %(answers)s THEN 'application/json' END
  FROM (SELECT n, now() - n * interval '1 s' AS at FROM generate_series(1, %(rows)s) AS n) AS filled
"""

READ_BY_IDLE_WORKERS = [
    "idempotency_idempotencykey",
    "idempotency_reaperposition",
    "idempotency_stagedjob",
    "idempotency_jobdelivery",
]

THE_REAPER_STANDS_WHERE_THE_ANSWERS_BEGIN = """
INSERT INTO idempotency_reaperposition (id, last_run_at)
SELECT 1, max(last_run_at) FROM idempotency_idempotencykey WHERE response_body IS NULL
"""

REPORT_ALL = "SET log_statement = 'all'; SET client_min_messages = 'log'"
REPORT_NONE = "RESET log_statement; RESET client_min_messages"
REPORTED = "LOG:  statement: "

COUNT_WAL_RECORDS = "SELECT wal_records FROM pg_stat_get_backend_wal(pg_backend_pid())"


def committing(test: Any) -> Any:
    """As in production; and what is counted is what one session does."""
    return pytest.mark.django_db(transaction=True)(pytest.mark.usefixtures("own_session")(test))


@dataclass
class Cost:
    """The statements that a block sent, as Django and the server agree on them."""

    statements: list[str] = field(default_factory=list)

    @property
    def kinds(self) -> Counter[str]:
        return Counter(_kind(statement) for statement in self.statements)

    @property
    def beyond_transactions(self) -> int:
        """The statements besides those that begin and end transactions."""
        return self.kinds.total() - self.kinds["BEGIN"] - self.kinds["COMMIT"]


@contextmanager
def costing() -> Iterator[Cost]:
    """Count what the block sends over this thread's connection."""
    cost, notices = Cost(), list[str]()
    with connection.cursor() as cursor:
        cursor.execute(REPORT_ALL)
        _listen(connection.connection, notices)
        with CaptureQueriesContext(connection) as captured:
            yield cost
        reported = [text.removeprefix(REPORTED) for text in notices if text.startswith(REPORTED)]
        cursor.execute(REPORT_NONE)
    cost.statements += [statement["sql"] for statement in captured]
    assert [_kind(statement) for statement in reported] == [_kind(s) for s in cost.statements]


def _listen(session: Any, notices: list[str]) -> None:
    """Have all that the server tells a session of the driver's put into a list."""
    if is_psycopg3:
        session.add_notice_handler(
            lambda notice: notices.append(f"{notice.severity}:  {notice.message_primary}")
        )
    else:
        session.notices = notices


def _kind(statement: str) -> str:
    return statement.split()[0].rstrip(";")


def send(key: str = KEY, *, rider: str = RIDER, client: Client | None = None, **fields: str) -> Any:
    """POST /rides through the whole of Django and to the stand-in, in this process."""
    return (client or Client()).post(
        "/rides",
        urlencode(COORDINATES | fields),
        content_type="application/x-www-form-urlencoded",
        headers={"Authorization": rider, "Idempotency-Key": key},
    )


def assert_replayed(answer: Any) -> None:
    assert (answer.status_code, answer.json()) == (201, BOOKED)
    assert answer.headers["Idempotent-Replayed"] == "true"


# A fresh request.


@pytest.mark.not_in_a_cell("the node counts, and makes tables anew, for itself")
@committing
def test_a_fresh_ride_commits_twice_and_needs_few_statements(riders):
    with costing() as cost:
        answer = send()

    assert (answer.status_code, answer.json()) == (201, BOOKED)
    assert answer.headers["Idempotent-Replayed"] == "false"
    assert cost.kinds["COMMIT"] == cost.kinds["BEGIN"] == FRESH_COMMITS
    assert cost.kinds["ROLLBACK"] == 0
    assert cost.beyond_transactions == FRESH_STATEMENTS


# A replay.


@committing
def test_a_replay_reads_the_credential_and_the_key(riders):
    send()

    with costing() as cost:
        assert_replayed(send())

    assert cost.kinds == {"SELECT": 2}
    assert User._meta.db_table in cost.statements[0]


@committing
def test_a_replay_to_a_browsers_session_reads_the_session_too(riders, settings):
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "AUTHENTICATE": "rides.authentication.session_rider",
    }
    client = Client()
    client.force_login(User.objects.get(email=RIDER))
    send(client=client)

    with costing() as cost:
        assert_replayed(send(client=client))

    assert cost.kinds == {"SELECT": REPLAY_STATEMENTS}


@committing
def test_a_replay_takes_no_lock_and_no_transaction_id(riders):
    send()

    with transaction.atomic(), connection.cursor() as cursor:
        assert_replayed(send())
        cursor.execute("SELECT pg_current_xact_id_if_assigned()")
        assert cursor.fetchone() == (None,)
        cursor.execute(
            """
            SELECT DISTINCT mode FROM pg_locks
             WHERE pid = pg_backend_pid() AND relation = 'idempotency_idempotencykey'::regclass
            """
        )
        assert cursor.fetchall() == [("AccessShareLock",)]


@committing
def test_a_replay_writes_nothing_that_could_be_flushed(riders):
    if connection.pg_version < 180000:
        pytest.skip("PostgreSQL counts the log of a single session from version 18 on")
    before = wal_records()
    send()
    after_the_first = wal_records()
    assert_replayed(send())  # sets the hint bits, which with checksums is a record
    settled = wal_records()
    assert_replayed(send())

    assert after_the_first > before
    assert wal_records() == settled


def wal_records() -> int:
    """What this thread's session has written to the write-ahead log so far."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(COUNT_WAL_RECORDS)
        return int(cursor.fetchone()[0])


# A refused request.


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("refused", "status", "statements"),
    [
        (lambda: Client().put("/rides"), 405, 0),
        (lambda: send(more="x" * 20_000), 413, 0),
        (lambda: send(rider=""), 401, 0),
        (lambda: send(rider="nobody@example.com"), 401, REFUSED_STATEMENTS),
        (lambda: send(""), 400, 0),
        (lambda: send("too-short"), 400, 0),
        (lambda: send(origin_lat="north"), 422, FORM_REFUSED_STATEMENTS),
        (lambda: send(more="than the form knows"), 422, FORM_REFUSED_STATEMENTS),
    ],
)
def test_a_refused_request_costs_the_credential_and_a_look_at_the_key_at_most(
    refused, status, statements
):
    RiderFactory(email=RIDER)

    with costing() as cost:
        answer = refused()

    assert answer.status_code == status, answer.content
    assert cost.kinds == ({"SELECT": statements} if statements else {})


# A worker with nothing to do.


@pytest.fixture
def finished_keys(db) -> None:
    """Answers of the last day, and older tombstones."""
    values = {"user_id": RiderFactory().pk, "rows": FINISHED_KEYS, "answers": FINISHED_KEYS / 2}
    with connection.cursor() as cursor:
        # So that no page is counted which is left of other tests' rows.
        cursor.execute(f"TRUNCATE {', '.join(READ_BY_IDLE_WORKERS)} CASCADE")
        cursor.execute(FILL, values)
        cursor.execute("ANALYZE idempotency_idempotencykey")
        cursor.execute(THE_REAPER_STANDS_WHERE_THE_ANSWERS_BEGIN)


IDLE_WORKERS = {
    "completer": "succeeded=0 failed=0",
    "reaper": "reaped=0",
    "enqueuer": "enqueued=0",
}


@pytest.mark.not_in_a_cell("the node counts, and makes tables anew, for itself")
def test_an_idle_worker_asks_one_question_of_a_few_pages(finished_keys):
    for worker, says in IDLE_WORKERS.items():
        with costing() as cost:
            assert run(worker, "--once") == says

        assert len(cost.statements) == IDLE_STATEMENTS, worker
        assert pages_of(cost.statements[0]) <= IDLE_PAGES, worker


def pages_of(statement: str) -> int:
    """How many pages the server looks at for a statement."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
        [explained] = cursor.fetchone()[0]
    plan = explained["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
