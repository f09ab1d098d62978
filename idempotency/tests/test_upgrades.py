"""What a migration makes of the keys that an older version left."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from idempotency.completing import complete_due_keys
from idempotency.models import IdempotencyKey
from idempotency.tests.bookshop import orders

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE = [("idempotency", "0009_completer_attempts")]
AFTER = [("idempotency", "0010_operation_and_path_kwargs")]

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
    """Writes keys with the tables of before, and migrates them."""

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
    assert complete_due_keys(10).succeeded == 1
    assert orders() == [{"title": "Emma", "payment": "payment-1"}]


@pytest.mark.parametrize(
    ("path", "params"), [("/gone", PARAMS), ("/orders", '{"title": "Emma"}')], ids=["path", "form"]
)
def test_a_key_of_which_that_cannot_be_told_keeps_the_empty_name(
    upgraded, key, stored, path, params
):
    upgraded((key, path, params))

    assert stored().operation == ""
    assert complete_due_keys(10).failed == 1
    assert "named ''" in stored().last_error


def test_a_retry_from_before_the_upgrade_is_refused_and_nothing_is_done(
    upgraded, customer, key, ledger
):
    upgraded((key, "/orders", PARAMS))

    answer = customer.send(key, discount=1.5)

    assert (answer.status_code, answer.json()["code"]) == (409, "parameters_mismatch")
    assert orders() == ledger.payments == []
    assert IdempotencyKey.objects.get().attempt == 1
