"""What an author's own statement runs into is the phase's failure, told as one; and a lock that
somebody else holds is neither an outage nor "being worked on"."""

import logging
from contextlib import closing

import pytest
from django.db import connection
from django.urls import path

from idempotency import STARTED, Operation, RecoveryPoint, Response, atomic_phase
from idempotency.tests import bookshop

pytestmark = pytest.mark.django_db(transaction=True)

TOO_SLOW = "SET LOCAL statement_timeout = 20; SELECT pg_sleep(10)"
RAISING = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{}'; END $$"


class Report(Operation):
    """Writes in its first phase, and runs an author's statement in the second."""

    statement = ""

    @atomic_phase(STARTED)
    def begin(self):
        bookshop.audit("begun", self.user.pk)
        return RecoveryPoint("begun")

    @atomic_phase("begun")
    def ask(self):
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = 20")
            cursor.execute(Report.statement)
        return Response(201, {})


urlpatterns = [*bookshop.urlpatterns, path("report", Report.as_view())]


@pytest.mark.parametrize("statement", [TOO_SLOW, RAISING.format("53100"), RAISING.format("53200")])
def test_a_statement_that_the_server_stops_is_the_phases_failure(
    customer, key, stored, monkeypatch, caplog, statement
):
    monkeypatch.setattr(Report, "statement", statement)

    answer = customer.post({}, key, to="/report")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert ", in ask" in record.getMessage()
    assert (stored().recovery_point, stored().locked_at) == ("begun", None)
    assert bookshop.audit_trail() == ["begun"]
    monkeypatch.setattr(Report, "statement", "SELECT 1")
    assert customer.post({}, key, to="/report").status_code == 201


def test_a_row_that_another_transaction_locks_is_a_conflict(customer, key, monkeypatch):
    monkeypatch.setattr(Report, "statement", "SELECT FROM rides_user FOR UPDATE")
    with closing(connection.copy()) as other:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("SELECT FROM rides_user WHERE id = %s FOR UPDATE", [customer.user.pk])

        answer = customer.post({}, key, to="/report")

        other.rollback()
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert customer.post({}, key, to="/report").status_code == 201


@pytest.mark.usefixtures("own_session", "ledger")
@pytest.mark.parametrize(
    "lock",
    [
        "SELECT FROM {user} WHERE id = %(id)s FOR UPDATE",
        "LOCK TABLE idempotency_idempotencykey IN SHARE MODE",
    ],
)
def test_a_lock_that_a_claim_meets_is_not_called_another_request_of_its_key(customer, key, lock):
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = 20")
    with closing(connection.copy()) as other:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            user = customer.user
            cursor.execute(lock.format(user=user._meta.db_table), {"id": user.pk})

        answer = customer.send(key)

        other.rollback()
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    connection.close()
    assert customer.send(key).status_code == 201
