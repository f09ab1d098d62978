"""Kill -9 on every queue, at the worst moments: nothing is lost, and each ride has one receipt."""

import contextlib
import time
from collections.abc import Iterator
from threading import Lock

import pytest
from django.db import connection

from rides.tests.queues.conftest import (
    KILLS,
    PATIENCE_SECONDS,
    TABLE,
    Row,
    nothing_is_owed,
    owe_receipts,
    receipts_of,
    wait_until,
)
from rides.tests.queues.forking import Forker
from rides.tests.queues.mail_server import MailServer, Moment

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(60 + 2 * PATIENCE_SECONDS),
]

WORKERS = 2


class Executioner:
    """Kills the worker that delivers a mail, at one moment, once for each recipient."""

    def __init__(self, forker: Forker, moment: Moment) -> None:
        self.forker, self.moment = forker, moment
        self.killed: set[str] = set()
        self.lock = Lock()

    def __call__(self, moment: Moment, recipient: str, port: int) -> bool:
        with self.lock:
            if moment is not self.moment or recipient in self.killed:
                return True
            self.killed.add(recipient)
            self.forker.kill(self.forker.whose_is(port))
            self.forker.start("worker")
            return False


@pytest.mark.parametrize("moment", Moment)
def test_a_worker_killed_in_the_middle_of_a_job_loses_and_doubles_nothing(
    queue, forker, mail_server: MailServer, moment
):
    began_at = time.monotonic()
    executioner = mail_server.act = Executioner(forker, moment)
    rides = owe_receipts(KILLS)
    forker.start("enqueuer")
    for _ in range(WORKERS):
        forker.start("worker")

    wait_until(nothing_is_owed)

    note(queue, f"worker, {moment.value}", len(executioner.killed), rides, mail_server, began_at)
    assert executioner.killed == {ride.user.email for ride in rides}
    assert receipts_of(rides) == [1] * KILLS
    # What no rollback takes back, and no more than that, is there twice.
    mails = 1 if moment is Moment.OFFERED else 2
    assert set(mail_server.accepted.values()) == {mails}


@pytest.mark.usefixtures("own_session")
def test_an_enqueuer_killed_in_its_commit_loses_and_doubles_nothing(
    queue, forker, mail_server: MailServer
):
    began_at = time.monotonic()
    rides = []
    for _ in range(WORKERS):
        forker.start("worker")
    with commits_held_up():
        # One after the other, or what was rolled back would pile up, and be handed over each time.
        for end_of_session in (end_held_up_sessions, let_commit) * KILLS:
            rides += owe_receipts(1)
            enqueuer = forker.start("enqueuer")
            wait_until(held_up_sessions)
            forker.kill(enqueuer)
            end_of_session()
            wait_until(lambda: not held_up_sessions())
    forker.start("enqueuer")

    wait_until(nothing_is_owed)

    note(queue, "enqueuer, in its commit", len(rides), rides, mail_server, began_at)
    assert receipts_of(rides) == [1] * len(rides)
    assert set(mail_server.accepted.values()) == {1}


# A deferred trigger runs inside COMMIT, and waits there for a lock that the test holds. By then a
# queue in the database has the job, in the same transaction; a broker has not. What PostgreSQL does
# once it notices that its client has died (the session is ended), or does before it notices (the
# commit goes on), the test decides.

GATE = 20_11_04

HOLD_COMMITS_UP = f"""
CREATE FUNCTION wait_at_the_gate() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON idempotency_jobdelivery
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_at_the_gate();
SELECT pg_advisory_lock({GATE});
"""

HOLD_UP_NO_MORE = f"""
SELECT pg_advisory_unlock({GATE});
DROP FUNCTION wait_at_the_gate() CASCADE;
"""

HELD_UP = f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = {GATE} AND NOT granted"


@contextlib.contextmanager
def commits_held_up() -> Iterator[None]:
    execute(HOLD_COMMITS_UP)
    try:
        yield
    finally:
        execute(HOLD_UP_NO_MORE)


def held_up_sessions() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(HELD_UP)
        return [pid for (pid,) in cursor.fetchall()]


def end_held_up_sessions() -> None:
    execute(f"SELECT pg_terminate_backend(pid) FROM ({HELD_UP}) held_up")


def let_commit() -> None:
    execute(f"SELECT pg_advisory_unlock({GATE}); SELECT pg_advisory_lock({GATE})")


def execute(statements: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements)


def note(queue, killed, kills, rides, mail_server, began_at) -> None:
    TABLE.append(
        Row(
            queue,
            killed,
            kills,
            jobs=len(rides),
            receipts=sum(receipts_of(rides)),
            mails=sum(mail_server.accepted.values()),
            seconds=round(time.monotonic() - began_at, 1),
        )
    )
