"""The database goes away in the middle of a request: what was committed counts, and a retry goes
on from there."""

import pytest
from django.db import OperationalError, close_old_connections
from django.urls import path

from idempotency import STARTED, Operation, RecoveryPoint, Response, atomic_phase
from idempotency.models import IdempotencyKey, StagedJob
from idempotency.tests import bookshop
from idempotency.tests.bookshop import ORDERED, orders
from idempotency.tests.ledger import Fault
from idempotency.tests.sessions import backend_pid, end_connection

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


urlpatterns = [*bookshop.urlpatterns, path("interrupted", Interrupted.as_view())]


def assert_unavailable(answer):
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert answer.json()["retryable"] is True
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.usefixtures("own_session")
def test_a_connection_that_is_lost_during_the_foreign_call(customer, key, stored, ledger):
    pid = backend_pid()
    ending = ledger.meanwhile(lambda: end_connection(pid))

    assert_unavailable(customer.send(key))

    ending.result()
    row = stored()
    assert (row.recovery_point, row.locked_at) == (ORDERED, None)
    assert row.last_error
    assert customer.send(key).status_code == 201
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


@pytest.mark.usefixtures("own_session")
def test_a_connection_that_was_lost_before_the_request(customer, key, ledger, elsewhere):
    elsewhere(end_connection, backend_pid()).result()

    assert_unavailable(customer.send(key))

    close_old_connections()  # as a server does after each request, and the test client does not
    assert not IdempotencyKey.objects.exists()
    assert customer.send(key).status_code == 201


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
