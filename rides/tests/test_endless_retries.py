"""One client that retries for ever fills nothing: whatever its request waits for, a retry leaves as
many rows as there were, and a key's own row stops growing.
"""

import pytest
from django.db import connection

from idempotency.leases import JOURNAL_LIMIT
from idempotency.models import IdempotencyKey
from idempotency.testing.clock import let_time_pass
from rides.models import User
from rides.operations import RESEND_WINDOW
from rides.tests.booking import CHARGING, KEY, ask, every_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

RETRIES = 300
assert RETRIES > JOURNAL_LIMIT
MOST_BYTES = 64 * 1024

SIZE = (
    "SELECT octet_length(row_to_json(k)::text) FROM idempotency_idempotencykey AS k WHERE id = %s"
)


def finished(stand_in) -> None:
    assert ask().status_code == 201


def failing_in_a_phase(stand_in) -> None:
    assert ask(raise_error="true").status_code == 500


def unknown_at_stripe(stand_in) -> None:
    stand_in.add_fault("rate_limit", path=CHARGING)
    assert ask().status_code == 503


def before_a_person(stand_in) -> None:
    assert ask(raise_error="true").status_code == 500
    IdempotencyKey.objects.update(foreign_sent_at="2020-01-01T00:00Z")
    let_time_pass(RESEND_WINDOW)
    assert ask().json()["code"] == "needs_review"


def of_a_deactivated_rider(stand_in) -> None:
    assert ask(raise_error="true").status_code == 500
    User.objects.update(is_active=False)


def with_other_parameters(stand_in) -> None:
    assert ask(origin_lat="0").status_code == 201


def refused(stand_in) -> None:
    pass


WAYS = {
    finished: {},
    failing_in_a_phase: {"raise_error": "true"},
    unknown_at_stripe: {},
    before_a_person: {},
    of_a_deactivated_rider: {},
    with_other_parameters: {},
    refused: {"origin_lat": "nowhere"},
}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_an_endless_retry_grows_nothing_but_what_has_a_limit(way, stand_in):
    way(stand_in)
    before = counted()

    statuses = {ask(**WAYS[way]).status_code for _ in range(RETRIES)}

    assert len(statuses) == 1, statuses
    assert counted() == before
    for key in IdempotencyKey.objects.filter(idempotency_key=KEY):
        assert len(key.journal) <= JOURNAL_LIMIT
        assert size_of(key) < MOST_BYTES


def counted() -> dict[str, int]:
    return {table: len(rows) for table, rows in every_row().items()}


def size_of(key: IdempotencyKey) -> int:
    with connection.cursor() as cursor:
        cursor.execute(SIZE, [key.pk])
        size: int = cursor.fetchone()[0]
        return size
