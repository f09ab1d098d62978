"""What every request runs is planned once for a connection, where the project says so."""

import uuid

import pytest
from django.db import DataError, connection, transaction

from idempotency import claims, leases
from idempotency.exceptions import ParametersMismatch
from idempotency.models import StagedJob
from idempotency.statements import run
from idempotency.testing.boundaries import Watch
from idempotency.tests.bookshop import PlaceOrder
from idempotency.tests.sessions import backend_pid

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_session")]

ADD = "SELECT %(one)s::int + %(other)s::int, %(one)s::int"


@pytest.fixture(autouse=True)
def _prepared(settings) -> None:
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "PREPARED_STATEMENTS": True}
    connection.close()  # the session of an earlier test has its statements still


def plans() -> dict[str, int]:
    """The session's prepared statements, by the first words of their text: how often each ran."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement, generic_plans + custom_plans FROM pg_prepared_statements")
        return {" ".join(text.split()[3:6]): runs for text, runs in cursor.fetchall()}


def added(one: int, other: int) -> tuple[int, int]:
    with connection.cursor() as cursor:
        run(cursor, ADD, {"one": one, "other": other})
        return cursor.fetchone()


def test_a_statement_is_prepared_once_and_executed_each_time():
    assert [added(1, 2), added(3, 4), added(5, 6)] == [(3, 1), (7, 3), (11, 5)]

    assert list(plans().values()) == [3]


def test_without_the_setting_nothing_is_prepared(settings):
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "PREPARED_STATEMENTS": False}

    assert added(1, 2) == (3, 1)
    assert plans() == {}


def test_a_new_connection_prepares_again():
    added(1, 2)
    first = backend_pid()
    connection.close()

    assert added(1, 2) == (3, 1)
    assert backend_pid() != first
    assert list(plans().values()) == [1]


def test_a_rollback_takes_no_statement_back():
    with transaction.atomic():
        added(1, 2)
        transaction.set_rollback(True)

    assert added(1, 2) == (3, 1)
    assert list(plans().values()) == [2]


def test_an_interruption_after_preparing_spoils_nothing():
    def interrupt(execute, sql, *rest):
        execute(sql, *rest)
        raise TimeoutError(sql)

    with pytest.raises(TimeoutError), connection.execute_wrapper(interrupt):
        added(1, 2)

    assert added(1, 2) == (3, 1)


def test_a_doubled_percent_sign_is_one_and_no_parameter_is_needed():
    with connection.cursor() as cursor:
        run(cursor, "SELECT 7 %% 4, '100%%'", {})
        assert cursor.fetchone() == (3, "100%")


def test_a_statement_that_failed_can_be_run_again():
    with pytest.raises(DataError), transaction.atomic():
        added(2**31 - 1, 1)

    assert added(1, 2) == (3, 1)


def test_a_request_and_its_replay_run_prepared_statements(customer, key, stored, ledger):
    first = customer.send(key)
    again = customer.send(key)

    assert (first.status_code, again.content) == (201, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert StagedJob.objects.count() == len(ledger.payments) == 1
    assert stored().journal[0]["event"] == "claimed"
    known = plans()
    assert known["SELECT id, user_id,"] == 2
    assert known["INSERT INTO idempotency_idempotencykey"] == 1
    assert known["UPDATE idempotency_idempotencykey SET"] >= 1
    assert known["INSERT INTO idempotency_stagedjob"] == 1


def test_the_fence_holds_in_a_prepared_statement(customer, key, stored, ledger):
    customer.send(key)
    finished = stored()
    lease = leases.Lease(finished.pk, finished.lease_token, finished.attempt, ends_at=0)

    with pytest.raises(leases.LeaseLost), transaction.atomic():
        leases.write_progress(lease, leases.Progress(recovery_point=None))

    assert stored() == finished


def test_other_parameters_are_refused_as_before(customer, key, ledger):
    customer.send(key)

    refused = customer.send(key, title="Persuasion")

    assert (refused.status_code, refused.json()["code"]) == (
        ParametersMismatch.status,
        ParametersMismatch.code,
    )


def test_a_key_that_is_known_is_not_inserted_again(customer, key, stored, ledger):
    customer.send(key)
    row = stored()
    new_key = claims.NewKey(
        user_id=row.user_id,
        foreign_key=uuid.uuid4(),
        idempotency_key=key,
        request_method="POST",
        request_path="/orders",
        request_params={},
        fingerprint="",
        origin_ip=None,
    )

    with transaction.atomic():
        assert claims.insert_key(new_key, begins_foreign_phase=True) is None


def test_the_crash_harness_knows_a_prepared_statement_by_its_text(customer, key, ledger):
    watched = [Watch(), Watch()]
    for number, watch in enumerate(watched):
        with watch.on(PlaceOrder):
            customer.send(f"{key}-{number}")

    first, second = ([str(boundary) for boundary in watch.found] for watch in watched)
    assert first == second
    assert "before INSERT idempotency_stagedjob" in "\n".join(first)


def test_a_fresh_claim_has_the_key_as_it_is_written(customer, key, stored, ledger):
    customer.send(key)
    row = stored()
    new_key = claims.NewKey(
        user_id=row.user_id,
        foreign_key=uuid.uuid4(),
        idempotency_key=f"another-{key}",
        request_method="POST",
        request_path="/orders",
        request_params={"title": "Emma"},
        fingerprint="of no consequence",
        origin_ip="127.0.0.1",
    )

    with transaction.atomic():
        claim = claims.insert_key(new_key, begins_foreign_phase=True)
    read = claims.find_key(row.user_id, new_key.idempotency_key)

    assert claim is not None
    assert read is not None
    assert _columns(claim.key) == _columns(read.key)


def _columns(key):
    return {name: value for name, value in vars(key).items() if name != "_state"}
