"""What a migration makes of the keys and jobs that an older version left."""

import json

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from idempotency.jobs.delivering import drain_staged_jobs
from idempotency.models import IdempotencyKey
from idempotency.testing.queue import run_queued_jobs
from idempotency.tests.bookshop import orders
from idempotency.tests.tasks import note
from idempotency.workers.completing import complete_due_keys

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE = [("idempotency", "0009_completer_attempts")]
BEFORE_OPTIONS = [("idempotency", "0010_operation_and_path_kwargs")]

# As the version before wrote it: what the form made, in the shape of its fields.
KEY_OF_BEFORE = """
INSERT INTO idempotency_idempotencykey
       (user_id, idempotency_key, request_method, request_path, request_params, fingerprint,
        foreign_key, created_at, last_run_at, run_after, attempt, lease_token, recovery_point,
        last_error, journal)
SELECT %s, %s, 'POST', %s, %s::jsonb, repeat('0', 64), gen_random_uuid(),
       at, at, at, 1, gen_random_uuid(), 'started', '', '[]'
  FROM (SELECT now() - interval '1 hour' AS at) AS filled
"""
PARAMS = '{"title": "Emma", "price_cents": 900, "discount": "1.5", "gift": false}'


@pytest.fixture
def upgraded(customer):
    """Write keys with the tables of before, and migrate them."""

    def upgrade(*keys):
        MigrationExecutor(connection).migrate(BEFORE)
        try:
            with connection.cursor() as cursor:
                for key, path, params in keys:
                    cursor.execute(KEY_OF_BEFORE, [customer.user.pk, key, path, params])
        finally:
            executor = MigrationExecutor(connection)
            executor.migrate(executor.loader.graph.leaf_nodes())  # other apps went back with it

    return upgrade


def test_an_unfinished_key_gets_its_operation_and_is_finished_by_the_completer(
    upgraded, key, stored, ledger
):
    upgraded((key, "/orders", PARAMS))

    row = stored()
    assert (row.operation, row.path_kwargs) == ("idempotency.PlaceOrder", {})
    assert row.request_params["discount"] == {"decimal": "1.5"}
    assert complete_due_keys(10).counts["succeeded"] == 1
    assert orders() == [{"title": "Emma", "payment": "payment-1"}]


@pytest.mark.parametrize(
    ("path", "params"), [("/gone", PARAMS), ("/orders", '{"title": "Emma"}')], ids=["path", "form"]
)
def test_a_key_of_which_that_cannot_be_told_keeps_the_empty_name(
    upgraded, key, stored, path, params
):
    upgraded((key, path, params))

    assert stored().operation == ""
    assert complete_due_keys(10).counts["failed"] == 1
    assert "named ''" in stored().last_error


def test_a_retry_from_before_the_upgrade_is_refused_and_nothing_is_done(
    upgraded, customer, key, ledger
):
    upgraded((key, "/orders", PARAMS))

    answer = customer.send(key, discount=1.5)

    assert (answer.status_code, answer.json()["code"]) == (409, "parameters_mismatch")
    assert orders() == ledger.payments == []
    assert IdempotencyKey.objects.get().attempt == 1


# Jobs that were staged before they had options.

STAGE_AS_BEFORE = """
INSERT INTO idempotency_stagedjob (job_id, job_name, job_args, created_at)
VALUES (gen_random_uuid(), %s, %s, now())
"""
VALID_INDEXES = """
SELECT count(*) FROM pg_index
 WHERE indisvalid AND indexrelid::regclass::text IN ('staged_job_for_now', 'staged_job_for_later')
"""


@pytest.fixture
def without_options():
    """The tables of before, which are brought forward again whatever happens."""
    MigrationExecutor(connection).migrate(BEFORE_OPTIONS)
    yield
    migrate_to_the_end()


def migrate_to_the_end():
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def fetched(statement, *values):
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchone() if cursor.description else None


def test_a_job_that_was_staged_before_or_is_by_a_process_of_before_is_handed_over(
    customer, without_options
):
    job = note.module_path, json.dumps({"args": ["kept", customer.user.pk], "kwargs": {}})
    fetched(STAGE_AS_BEFORE, *job)
    migrate_to_the_end()
    fetched(STAGE_AS_BEFORE, *job)

    assert drain_staged_jobs(10) == 2
    assert run_queued_jobs(10).succeeded == 2


def test_a_migration_to_options_that_was_broken_off_is_run_again(without_options, monkeypatch):
    """It cannot be rolled back, since indexes are built beside those who stage jobs."""
    create = type(connection.schema_editor()).execute

    def break_off(editor, sql, params=()):
        if "staged_job_for_later" in str(sql):
            raise KeyboardInterrupt
        return create(editor, sql, params)

    monkeypatch.setattr(type(connection.schema_editor()), "execute", break_off)
    with pytest.raises(KeyboardInterrupt):
        migrate_to_the_end()
    monkeypatch.undo()

    migrate_to_the_end()

    assert fetched(VALID_INDEXES) == (2,)
