"""The database goes away in the middle of a request: what was committed counts, and a retry goes
on from there. Where nothing had been done on the lost connection, its client does not notice."""

from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.db import (
    InterfaceError,
    NotSupportedError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.urls import path

from idempotency import STARTED, Operation, RecoveryPoint, Response, atomic_phase, stage_operation
from idempotency.database_errors import database_is_away
from idempotency.exceptions import DatabaseUnavailable
from idempotency.http.rereading import raising_answers
from idempotency.models import StagedJob
from idempotency.support.batches import Batch
from idempotency.tests import bookshop
from idempotency.tests.bookshop import ORDERED, orders
from idempotency.tests.ledger import Fault
from idempotency.tests.sessions import backend_pid, end_connection
from idempotency.transactions import SERIALIZABLE, in_transaction
from idempotency.workers import loop
from idempotency.workers.completing import complete_due_keys
from idempotency.workers.loop import refuse_server_that_only_reads

pytestmark = pytest.mark.django_db(transaction=True)


class Interrupted(Operation):
    """Loses its connection in its second phase, the first time."""

    interruptions = 0

    @atomic_phase(STARTED)
    def begin(self):
        bookshop.audit("begun", self.user.pk)
        return RecoveryPoint("begun")

    @atomic_phase("begun")
    def go_on(self):
        if Interrupted.interruptions:
            Interrupted.interruptions -= 1
            end_connection(backend_pid())
        bookshop.audit("ended", self.user.pk)
        return Response(201, {})


class AsksElsewhere(Operation):
    """Reads from another database of the project."""

    @atomic_phase(STARTED)
    def ask(self):
        return Response(201, {"pid": pid_elsewhere()})


class OpensElsewhere(Operation):
    """Opens a connection to another database, in whichever thread it is run."""

    opened: ClassVar[list[Any]] = []

    @atomic_phase(STARTED)
    def open(self):
        other = connections["other"] = connection.copy("other")
        other.connect()
        self.opened.append(other)
        return Response(201, {})


urlpatterns = [*bookshop.urlpatterns, path("interrupted", Interrupted.as_view())]


def assert_unavailable(answer):
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert answer.json()["retryable"] is True
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.usefixtures("own_session")
def test_a_connection_that_is_lost_during_the_foreign_call(customer, key, ledger):
    pid = backend_pid()
    ending = ledger.meanwhile(lambda: end_connection(pid))

    assert customer.send(key).status_code == 201

    ending.result()
    assert backend_pid() != pid
    assert len(ledger.payments) == len(orders()) == StagedJob.objects.count() == 1


@pytest.mark.usefixtures("own_session")
def test_a_connection_that_is_lost_during_a_call_without_an_answer(customer, key, stored, ledger):
    pid = backend_pid()
    ledger.faults.append(Fault.ERROR_AFTER)
    ending = ledger.meanwhile(lambda: end_connection(pid))

    assert customer.send(key).json()["code"] == "outcome_unknown"

    ending.result()
    assert (stored().recovery_point, stored().locked_at) == (ORDERED, None)
    assert customer.send(key).status_code == 201
    assert len(ledger.payments) == 1


def test_a_connection_that_is_lost_inside_the_first_transaction(customer, key, stored, monkeypatch):
    monkeypatch.setattr(Interrupted, "interruptions", 1)

    assert_unavailable(customer.post({}, key, to="/interrupted"))

    assert bookshop.audit_trail() == []
    assert (stored().recovery_point, stored().locked_at) == (STARTED, None)
    assert customer.post({}, key, to="/interrupted").status_code == 201
    assert bookshop.audit_trail() == ["begun", "ended"]


@pytest.mark.usefixtures("own_session", "ledger")
def test_a_connection_that_was_lost_before_the_request_costs_its_client_nothing(
    customer, key, elsewhere, stored
):
    elsewhere(end_connection, backend_pid()).result()

    assert customer.send(key).status_code == 201
    assert stored().attempt == 1


@pytest.mark.usefixtures("own_session", "ledger")
def test_a_connection_that_was_lost_before_a_replay_costs_its_client_nothing(
    customer, key, elsewhere
):
    first = customer.send(key)
    elsewhere(end_connection, backend_pid()).result()

    replay = customer.send(key)

    assert (replay.status_code, replay.content) == (201, first.content)


@pytest.mark.usefixtures("own_session")
def test_a_transaction_begins_again_on_a_new_connection_once(elsewhere):
    pids = [backend_pid()]

    def work():
        if len(pids) < 3:
            elsewhere(end_connection, pids[-1]).result()
        pids.append(backend_pid())

    elsewhere(end_connection, pids[0]).result()
    in_transaction(work)

    assert len(pids) == len(set(pids)) == 2


@pytest.mark.usefixtures("own_session")
def test_a_transaction_that_lost_its_connection_later_is_not_run_again(elsewhere):
    runs = []

    def work():
        runs.append(backend_pid())
        elsewhere(end_connection, runs[-1]).result()
        backend_pid()

    with pytest.raises(OperationalError):
        in_transaction(work)

    assert len(runs) == 1


@pytest.mark.usefixtures("own_session")
def test_a_statement_that_writes_is_not_repeated_outside_of_a_transaction(elsewhere):
    elsewhere(end_connection, backend_pid()).result()

    with (
        pytest.raises(DatabaseUnavailable),
        raising_answers(),
        connection.cursor() as cursor,
    ):
        cursor.execute("UPDATE auth_group SET name = name")
    connection.close()


@pytest.mark.usefixtures("own_session", "ledger")
def test_a_connection_that_may_only_read_is_given_up(customer, key):
    pid = backend_pid()
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")

    assert_unavailable(customer.send(key))

    assert backend_pid() != pid
    assert customer.send(key).status_code == 201


def test_a_worker_gives_up_a_server_that_has_come_to_only_read():
    refuse_server_that_only_reads()
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")

        with pytest.raises(OperationalError):
            refuse_server_that_only_reads()

        cursor.execute("SET default_transaction_read_only = off")
    refuse_server_that_only_reads()
    connection.close()
    refuse_server_that_only_reads()


def test_an_error_that_cannot_be_recorded_is_logged_once(
    customer, key, stored, monkeypatch, caplog
):
    def no_record(*_):
        raise OperationalError("server closed the connection unexpectedly")

    customer.send(key, fails_in="pay")
    caplog.clear()
    monkeypatch.setattr("idempotency.failures.write_progress", no_record)

    assert customer.send(key, fails_in="pay").status_code == 500
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    assert stored().locked_at is not None


@pytest.mark.usefixtures("own_session")
def test_a_standby_that_has_no_serializable_transactions_is_given_up():
    def standby(execute, sql, *rest):
        if sql.startswith("SET TRANSACTION"):
            raise NotSupportedError("cannot use serializable mode in a hot standby")
        return execute(sql, *rest)

    with connection.execute_wrapper(standby), pytest.raises(OperationalError) as away:
        in_transaction(backend_pid, isolation=SERIALIZABLE)

    assert database_is_away(away.value)


@pytest.fixture
def another_database(own_session, monkeypatch):
    """One more of the project's databases. A test case forbids what it was not told of beforehand,
    but for connections that `DATABASES` does not have.
    """
    own = connections._connections  # this thread's
    monkeypatch.setattr(
        connections,
        "all",
        lambda **_: [getattr(own, name) for name in ("default", "other") if hasattr(own, name)],
    )
    other = connections["other"] = connection.copy("other")
    yield
    other.close()
    del connections["other"]


def pid_elsewhere():
    with connections["other"].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def test_a_completer_loses_one_attempt_to_the_end_of_a_connection_to_another_database(
    customer, key, another_database
):
    with transaction.atomic():
        for number in range(3):
            stage_operation(AsksElsewhere, key=f"{key}-{number}", user=customer.user)
    end_connection(pid_elsewhere())

    assert complete_due_keys(10).counts == {"succeeded": 2, "failed": 1}


def test_a_completers_threads_leave_no_connection_to_another_database(
    customer, key, another_database, monkeypatch
):
    monkeypatch.setattr(OpensElsewhere, "opened", [])
    with transaction.atomic():
        for number in range(4):
            stage_operation(OpensElsewhere, key=f"{key}-{number}", user=customer.user)

    complete_due_keys(10, concurrency=2)

    assert OpensElsewhere.opened
    assert OpensElsewhere.opened[-1].connection is None


def test_a_worker_asks_another_database_again_after_the_end_of_its_connection(
    another_database, monkeypatch
):
    monkeypatch.setattr(loop, "_install_signal_handlers", lambda: None)
    monkeypatch.setattr(loop.Stop, "asked", False)
    end_connection(pid_elsewhere())
    asked = []

    def batch():
        """Fail at its item, as a job does that is handed over to a queue in that database."""
        loop.Stop.asked = len(asked) == 1
        with suppress(OperationalError, InterfaceError):
            asked.append(None)
            asked[-1] = pid_elsewhere()
        return Batch({}, is_full=True)

    loop.run_worker("enqueuer", batch, pause=timedelta(0))

    assert [type(pid) for pid in asked] == [type(None), int]
