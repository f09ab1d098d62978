"""psycopg 3 may leave binding and planning to the server: then no value says what type it is of."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from idempotency.models import StagedJob
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import Death, counted, orders
from idempotency.workers.completing import complete_due_keys

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("own_session", "bound_by_the_server"),
    pytest.mark.skipif(not is_psycopg3, reason="psycopg2 binds by itself"),
]

GRACE = timedelta(seconds=300)
SERVER_BINDS = {"server_side_binding": True, "prepare_threshold": 0}


@pytest.fixture
def bound_by_the_server(own_session):
    """Have this thread's session prepare each statement when it is first sent.

    By a patch of its own, which ends before that of `own_session` does.
    """
    options = {**connection.settings_dict["OPTIONS"], **SERVER_BINDS}
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(connection.settings_dict, "OPTIONS", options)
        connection.close()
        yield
        connection.close()


def prepared() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(statement, ';') FROM pg_prepared_statements")
        return cursor.fetchone()[0]


def test_a_request_that_is_taken_over_by_its_client_is_answered(customer, key, ledger):
    with pytest.raises(Death):
        customer.send(key, dies_in="pay")
    let_time_pass(GRACE)

    assert customer.send(key).status_code == 201
    assert customer.send(key).headers["Idempotent-Replayed"] == "true"
    assert len(orders()) == len(ledger.payments) == StagedJob.objects.count() == 1
    assert "UPDATE idempotency_idempotencykey" in prepared()


def test_a_request_that_is_taken_over_by_the_completer_is_finished(customer, key, ledger):
    with pytest.raises(Death):
        customer.send(key, dies_in="pay")
    let_time_pass(GRACE)

    assert counted(complete_due_keys(10)) == (1, 0)
    assert len(orders()) == len(ledger.payments) == StagedJob.objects.count() == 1


def test_a_process_that_was_overtaken_finishes_nothing_by_a_prepared_statement(
    customer, key, stored, ledger
):
    def be_overtaken():
        let_time_pass(GRACE)
        return customer.send(key)

    overtaking = ledger.meanwhile(be_overtaken)

    late = customer.send(key)

    assert (late.status_code, late.json()["code"]) == (409, "request_in_progress")
    assert overtaking.result().status_code == 201
    assert stored().attempt == 2
    assert len(orders()) == len(ledger.payments) == StagedJob.objects.count() == 1


def test_other_parameters_are_refused_by_a_prepared_statement(customer, key, ledger):
    customer.send(key)

    refused = customer.send(key, title="Persuasion")

    assert (refused.status_code, refused.json()["code"]) == (409, "parameters_mismatch")
    assert len(orders()) == 1
