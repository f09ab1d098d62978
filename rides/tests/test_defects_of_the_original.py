"""The original's defects, one by one in the order of their list, each shown not to be here.

Three are shown elsewhere: the fourth, a lock without fencing, in test_crashes.py; the eleventh, bad
bytes that end as a 500, in test_bad_input.py; the tenth, queries without an index, in the core.
"""

import contextlib
import json
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection

from idempotency.models import IdempotencyKey, JobDelivery, StagedJob
from idempotency.parameters import keep_all
from idempotency.testing.clock import let_time_pass
from rides.models import Ride, User
from rides.tests.booking import (
    BOOKED,
    CHARGING,
    COORDINATES,
    KEY,
    RIDER,
    book,
    charging_key,
    fail_midway,
    lock,
    run,
    the_key,
)
from rides.tests.factories import IdempotencyKeyFactory
from rides.tests.processes import environment
from rocketrides.environment import BASE_DIR
from sandbox.supervisor import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]


def test_an_unknown_outcome_is_not_stored_as_final(api, stand_in):
    stand_in.add_fault("reset_after", times=2, path=CHARGING)

    first, again = book(api.url), book(api.url)

    assert (first.status_code, first.json()["retryable"]) == (503, True)
    assert (again.status_code, again.json()) == (201, BOOKED)
    assert len(stand_in.charges()) == 1


@pytest.mark.usefixtures("own_session")
def test_no_transaction_is_open_while_stripe_is_called(api, stand_in):
    stand_in.add_fault("stall", seconds=0.5, path=CHARGING)
    with ThreadPoolExecutor(1) as client:
        booking = client.submit(book, api.url)
        wait_until(stand_in.charges)
        with connection.cursor() as cursor:
            # Those that wait within a transaction: others read the doors or vacuum just now.
            cursor.execute(
                "SELECT count(*), count(*) FILTER (WHERE state LIKE 'idle in transaction%')"
                " FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            connections, transactions = cursor.fetchone()
        assert not booking.done(), "the call was over before anybody looked"

    assert connections > 0
    assert transactions == 0


def test_a_job_that_commits_after_one_with_a_higher_id_is_sent_too(api):
    receipt = {"ride_id": 1, "amount_cents": 2000, "currency": "usd", "user_id": 1}
    late = connection.copy()
    try:
        late.set_autocommit(False)
        with contextlib.closing(late.cursor()) as cursor:
            cursor.execute(
                "INSERT INTO idempotency_stagedjob (job_id, job_name, job_args)"
                " VALUES (gen_random_uuid(), 'rides.tasks.send_ride_receipt', %s) RETURNING id",
                [json.dumps({"args": [], "kwargs": receipt})],
            )
            [lower_id] = cursor.fetchone()
        book(api.url)
        assert StagedJob.objects.get().pk > lower_id
        assert run("enqueuer", "--once") == "enqueued=1"
        late.commit()
    finally:
        late.close()

    assert StagedJob.objects.get().pk == lower_id
    assert run("enqueuer", "--once") == "enqueued=1"
    assert JobDelivery.objects.count() == 2


def test_the_completer_waits_longer_after_each_failure(api, stand_in):
    stand_in.add_fault("rate_limit", path=CHARGING)
    fail_midway(api.url)
    waits = []
    for _ in range(3):
        let_time_pass(timedelta(hours=2))
        assert run("completer", "--once") == "succeeded=0 failed=1"
        waits.append(the_key().run_after - the_key().last_run_at)

    assert waits == sorted(waits)
    assert waits[2] > 2 * waits[0]


def test_the_completer_records_where_the_request_came_from():
    IdempotencyKeyFactory(
        user=User.objects.get(email=RIDER),
        idempotency_key=KEY,
        request_params=keep_all({name: Decimal(degrees) for name, degrees in COORDINATES.items()}),
        origin_ip="203.0.113.7",
    )
    let_time_pass(timedelta(seconds=1000))

    assert run("completer", "--once") == "succeeded=1 failed=0"
    assert Ride.objects.get().origin_ip == "203.0.113.7"


def test_a_retry_after_stripe_forgot_its_key_finds_the_charge_and_makes_no_second(api, stand_in):
    stand_in.add_fault("reset_after", times=2, path=CHARGING)
    assert book(api.url).status_code == 503
    stand_in.prune_keys()
    let_time_pass(timedelta(hours=25))

    assert book(api.url).status_code == 201
    [charge] = stand_in.charges()
    assert Ride.objects.get().stripe_charge_id == charge["id"]


def test_a_retry_after_stripe_forgot_its_key_charges_nothing_that_it_does_not_find(api, stand_in):
    stand_in.add_fault("reset_before", times=2, path=CHARGING)
    assert book(api.url).status_code == 503
    let_time_pass(timedelta(hours=25))

    answer = book(api.url)

    assert (answer.status_code, answer.json()["code"]) == (503, "needs_review")
    assert not stand_in.charges()


def test_the_key_at_stripe_is_a_uuid_and_says_nothing_of_a_serial_id(api, stand_in):
    book(api.url)

    [charge] = stand_in.charges()
    assert charge["idempotency_key"] == charging_key(the_key())
    assert uuid.UUID(charge["idempotency_key"]).version == 5


def test_the_operation_is_part_of_what_a_retry_must_repeat(api):
    """There is one operation here, so the stored request is made another one's."""
    book(api.url)
    IdempotencyKey.objects.update(operation="rides.CancelRide")

    assert book(api.url).json()["code"] == "parameters_mismatch"


def test_a_replay_says_that_it_is_one(api):
    assert book(api.url).headers["Idempotent-Replayed"] == "false"
    assert book(api.url).headers["Idempotent-Replayed"] == "true"


def test_a_409_says_how_long_the_lease_lasts_and_a_503_when_to_come_back(api, stand_in):
    stand_in.add_fault("reset_before", times=2, path=CHARGING)
    unknown = book(api.url)
    lock(the_key(), seconds_ago=30)
    in_progress = book(api.url)

    assert (unknown.status_code, int(unknown.headers["Retry-After"])) == (503, 1)
    assert in_progress.status_code == 409
    assert 50 <= int(in_progress.headers["Retry-After"]) <= 60


def test_an_email_address_is_a_credential_in_a_demonstration_only(stand_in):
    started = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=BASE_DIR,
        env={
            **environment(stand_in),
            "DEBUG": "off",
            "DEMO_AUTH": "on",
            "SECRET_KEY": "s" * 50,
            "ALLOWED_HOSTS": "example.com",
            "FOREIGN_KEY_NAMESPACE": str(uuid.uuid4()),
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )

    assert started.returncode == 1
    assert "DEMO_AUTH" in started.stderr
    assert len(started.stderr.splitlines()) == 1
