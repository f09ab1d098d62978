"""What the original does, row by row in the order of its list, as clients and operators see it.

Its defects, which are not copied, have a file of their own: test_defects_of_the_original.py.
"""

import contextlib
import re
import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
import requests
from django.core.management import call_command
from django.db import connection
from django_tasks_db.models import DBTaskResult

from idempotency import conf
from idempotency.models import FINISHED, STARTED, IdempotencyKey, StagedJob
from idempotency.testing.clock import let_time_pass
from rides.models import AuditRecord, Ride, User
from rides.operations import CHARGE_CREATED, RIDE_CREATED
from rides.tests.booking import (
    BOOKED,
    CHARGING,
    COORDINATES,
    KEY,
    RIDER,
    RIDER_WITH_BAD_CARD,
    book,
    every_row,
    fail_midway,
    lock,
    run,
    the_key,
)
from sandbox.supervisor import PATIENCE_SECONDS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

ANOTHER_KEY = "another-key-long-enough"


@contextlib.contextmanager
def conflicts_in_the_ride_table() -> Iterator[None]:
    """Have PostgreSQL refuse each new ride as it refuses one of two transactions in conflict."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION USING ERRCODE = 'serialization_failure'; END $$;"
            "CREATE TRIGGER conflict BEFORE INSERT ON rides_ride EXECUTE FUNCTION conflict()"
        )
        try:
            yield
        finally:
            cursor.execute("DROP FUNCTION conflict CASCADE")


def test_post_rides_takes_four_form_fields_and_two_headers(api):
    """The README's curl."""
    answer = requests.post(
        f"{api.url}/rides",
        data="origin_lat=0.0&origin_lon=0.0&target_lat=0.0&target_lon=0.0",
        headers={
            "Authorization": "user@example.com",
            "Idempotency-Key": f"{uuid.uuid4().hex}{uuid.uuid4().hex}",
            "Content-Type": "application/x-www-form-urlencoded",
        },
        timeout=PATIENCE_SECONDS,
    )

    assert answer.status_code == 201


def test_success_is_a_201_with_the_originals_message(api):
    answer = book(api.url)

    assert answer.status_code == 201
    assert answer.text == '{"message": "Payment accepted. Your pilot is on their way!"}'
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("credentials", [{}, {"Authorization": "stranger@example.com"}])
def test_no_credentials_or_an_unknown_user_is_a_401(api, credentials):
    answer = requests.post(
        f"{api.url}/rides",
        data=COORDINATES,
        headers={"Idempotency-Key": KEY, **credentials},
        timeout=PATIENCE_SECONDS,
    )

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert not IdempotencyKey.objects.exists()


@pytest.mark.parametrize(
    ("key", "code"),
    [("", "idempotency_key_missing"), ("k" * 19, "idempotency_key_invalid")],
)
def test_no_key_or_a_key_too_short_is_a_400(api, key, code):
    answer = book(api.url, key)

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert not IdempotencyKey.objects.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[(field, value) for field in COORDINATES for value in ("", "north")],
        *[("origin_lat", "90.1"), ("target_lat", "-90.1")],
        *[("origin_lon", "180.1"), ("target_lon", "-180.1")],
    ],
)
def test_a_field_missing_or_not_a_number_or_off_the_globe_is_a_422_that_names_it(api, field, value):
    answer = book(api.url, **{field: value})

    assert answer.status_code == 422
    assert answer.json()["error"].startswith(f"{field}: ")
    assert not IdempotencyKey.objects.exists()


def test_a_key_seen_before_with_other_parameters_is_a_409(api, stand_in):
    book(api.url)
    rows = every_row()

    answer = book(api.url, origin_lat="37.78")

    assert (answer.status_code, answer.json()["code"]) == (409, "parameters_mismatch")
    assert every_row() == rows
    assert len(stand_in.charges()) == 1


def test_the_same_key_in_progress_is_a_409(api, stand_in):
    fail_midway(api.url)
    lock(the_key(), seconds_ago=80)

    answer = book(api.url)

    assert (answer.status_code, answer.json()["code"]) == (409, "request_in_progress")
    assert not stand_in.charges()


def test_a_finished_key_is_the_stored_status_and_body_again(api, stand_in):
    first = book(api.url)
    rows = every_row()

    again = book(api.url)

    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert every_row() == rows
    assert len(stand_in.charges()) == 1


def test_an_unlocked_key_goes_on_from_its_recovery_point(api, stand_in):
    fail_midway(api.url)
    ride = Ride.objects.get()

    answer = book(api.url)

    assert (answer.status_code, answer.json()) == (201, BOOKED)
    assert Ride.objects.get().pk == ride.pk
    assert len(stand_in.charges()) == 1


def test_a_lock_older_than_90_seconds_does_not_hold(api, stand_in):
    fail_midway(api.url)
    lock(the_key(), seconds_ago=91)

    assert book(api.url).status_code == 201
    assert len(stand_in.charges()) == 1


def test_a_declined_card_is_a_402_stored_as_final(api, stand_in):
    first = book(api.url, rider=RIDER_WITH_BAD_CARD)
    again = book(api.url, rider=RIDER_WITH_BAD_CARD)

    assert first.status_code == 402
    assert first.json()["error"] == "Error from payment processor: Your card was declined."
    assert first.json()["retryable"] is False
    assert (the_key().recovery_point, the_key().response_code) == (FINISHED, 402)
    assert (again.status_code, again.content) == (402, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert [charge["status"] for charge in stand_in.charges()] == ["failed"]


def test_an_error_inside_a_phase_is_a_500_that_asks_to_retry_with_the_same_key(api):
    answer = fail_midway(api.url)

    assert "Retry with the same Idempotency-Key." in answer.json()["error"]
    assert answer.json()["retryable"] is True
    assert (the_key().locked_at, the_key().recovery_point) == (None, RIDE_CREATED)


def test_a_serialization_conflict_is_a_409_and_the_key_is_unlocked(api):
    with conflicts_in_the_ride_table():
        answer = book(api.url)

    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert answer.json()["retryable"] is True
    assert (the_key().locked_at, the_key().recovery_point) == (None, STARTED)
    assert book(api.url).status_code == 201


def test_raise_error_fails_a_request_after_ride_created_and_only_that_one(api, stand_in):
    fail_midway(api.url)
    assert (Ride.objects.count(), len(stand_in.charges())) == (1, 0)
    assert the_key().request_params.keys() == COORDINATES.keys()

    assert book(api.url).status_code == 201
    assert (Ride.objects.count(), len(stand_in.charges())) == (1, 1)


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"origin_lat": "x"}, 422), ({"raise_error": "true"}, 500), ({"rider": "nobody"}, 401)],
)
def test_an_error_body_is_json_with_its_message_under_error(api, fields, status):
    answer = book(api.url, **fields)

    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
    assert answer.json()["error"].endswith(".")


def test_the_recovery_points_are_the_originals_four_in_their_order(api):
    book(api.url)

    reached = [entry.get("recovery_point", STARTED) for entry in the_key().journal]
    assert list(dict.fromkeys(reached)) == [STARTED, RIDE_CREATED, CHARGE_CREATED, FINISHED]
    assert (STARTED, RIDE_CREATED) == ("started", "ride_created")
    assert (CHARGE_CREATED, FINISHED) == ("charge_created", "finished")


def test_the_fare_is_2000_cents_in_usd_and_says_what_it_is_for(api, stand_in):
    """By the key that the ride keeps: the original sends the ride's number, which a restored
    database gives to another ride.
    """
    book(api.url)

    [charge] = stand_in.charges()
    assert (charge["amount"], charge["currency"]) == (2000, "usd")
    assert str(Ride.objects.get().foreign_key) in charge["description"]


def test_one_audit_record_says_who_created_which_ride_from_where_with_what(api):
    book(api.url)

    record = AuditRecord.objects.get()
    assert record.action == "ride.created"
    assert record.data == {"amount_cents": 2000, "currency": "usd"}
    assert record.user.email == RIDER
    # From where, and with what, stands in the ride that it names: it can be erased there.
    ride = Ride.objects.get()
    assert (record.resource_type, record.resource_id) == ("ride", ride.pk)
    assert ride.origin_ip == "127.0.0.1"
    assert {name: f"{getattr(ride, name).normalize():f}" for name in COORDINATES} == COORDINATES


def test_a_job_is_staged_that_sends_the_receipt(api):
    book(api.url)

    job = StagedJob.objects.get()
    assert job.job_name == "rides.tasks.send_ride_receipt"
    assert job.job_args["kwargs"] == {
        "ride_id": Ride.objects.get().pk,
        "amount_cents": 2000,
        "currency": "usd",
        "user_id": User.objects.get(email=RIDER).pk,
    }


def test_the_completer_takes_keys_that_are_older_than_300_seconds(api):
    fail_midway(api.url)

    let_time_pass(timedelta(seconds=290))
    assert run("completer", "--once") == "succeeded=0 failed=0"
    let_time_pass(timedelta(seconds=11))
    assert run("completer", "--once") == "succeeded=1 failed=0"
    assert the_key().response_code == 201


def test_the_completer_takes_keys_that_were_last_run_more_than_60_seconds_ago(api, stand_in):
    stand_in.add_fault("rate_limit", times=1, path=CHARGING)
    fail_midway(api.url)
    let_time_pass(timedelta(seconds=1000))
    assert book(api.url).status_code == 503

    let_time_pass(timedelta(seconds=60))
    assert run("completer", "--once") == "succeeded=0 failed=0"
    let_time_pass(timedelta(seconds=100))
    assert run("completer", "--once") == "succeeded=1 failed=0"


@pytest.mark.parametrize(
    ("seconds_ago", "outcome"),
    [(80, "succeeded=0 failed=0"), (91, "succeeded=1 failed=0")],
)
def test_the_completer_takes_no_key_that_was_locked_within_90_seconds(api, seconds_ago, outcome):
    fail_midway(api.url)
    let_time_pass(timedelta(seconds=1000))
    lock(the_key(), seconds_ago=seconds_ago)

    assert run("completer", "--once") == outcome


def test_the_completer_reports_a_failure_which_does_not_stop_the_batch(api, stand_in):
    for key in (KEY, ANOTHER_KEY):
        fail_midway(api.url, key)
    let_time_pass(timedelta(seconds=1000))
    stand_in.add_fault("rate_limit", times=1, path=CHARGING)

    assert run("completer", "--once") == "succeeded=1 failed=1"
    assert set(IdempotencyKey.objects.values_list("recovery_point", "response_code")) == {
        (FINISHED, 201),
        (RIDE_CREATED, None),
    }


def test_the_enqueuer_hands_staged_jobs_to_the_queue_in_id_order_and_removes_them(api):
    for key in (KEY, ANOTHER_KEY):
        book(api.url, key)
    staged = [str(job.job_id) for job in StagedJob.objects.order_by("pk")]

    assert run("enqueuer", "--once") == "enqueued=2"

    queued = DBTaskResult.objects.order_by("enqueued_at")
    assert [task.args_kwargs["args"][0] for task in queued] == staged
    assert not StagedJob.objects.exists()
    assert run("enqueuer", "--once") == "enqueued=0"


def test_the_reaper_takes_keys_older_than_72_hours_away_and_leaves_their_rides(api):
    """In two steps: what is left after 72 hours tells a very late retry that it was done."""
    book(api.url)

    let_time_pass(timedelta(hours=71, minutes=59))
    assert run("reaper", "--once") == "reaped=0"
    let_time_pass(timedelta(minutes=2))
    assert run("reaper", "--once") == "reaped=1"
    assert book(api.url).status_code == 410
    let_time_pass(timedelta(days=27))
    assert run("reaper", "--once") == "reaped=0"
    assert not IdempotencyKey.objects.exists()
    assert Ride.objects.get().idempotency_key is None


def test_a_batch_is_1000_rows_and_an_idle_worker_sleeps_5_seconds():
    """Enqueuer and completer sleep less: a receipt, and what a webhook tells of, is not as late."""
    assert conf.Settings().batch_size == 1000
    assert conf.Settings().idle_pause == timedelta(seconds=5)
    assert conf.Settings().enqueuer_pause < timedelta(seconds=1)
    assert conf.Settings().completer_idle_pause < timedelta(seconds=1)


def test_the_simulator_books_for_the_first_user_with_random_keys_and_fails_half(api):
    table = run("simulator", "--url", api.url, "--rate", "40", "--duration", "1")

    keys = IdempotencyKey.objects.all()
    assert keys
    assert {key.user.email for key in keys} == {RIDER}
    assert {key.recovery_point for key in keys} == {FINISHED, RIDE_CREATED}
    assert "201" in table
    assert "500" in table


def test_the_seed_is_a_user_who_pays_and_one_who_is_declined(api, settings, stand_in):
    User.objects.all().delete()
    settings.EMBEDDED_POSTGRES = True

    call_command("seed")

    assert book(api.url, rider="user@example.com").status_code == 201
    assert book(api.url, rider="user-bad-source@example.com").status_code == 402


@pytest.mark.parametrize(
    ("table", "rule"),
    [
        ("idempotency_idempotencykey", r"UNIQUE \(user_id, idempotency_key\)"),
        ("idempotency_idempotencykey", r"CHECK \(\(length\(.*idempotency_key.*\) >= 20\)\)"),
        ("idempotency_idempotencykey", r"FOREIGN KEY \(user_id\) REFERENCES rides_user\(id\)"),
        ("rides_ride", r"UNIQUE \(stripe_charge_id\)"),
        ("rides_ride", r"UNIQUE \(idempotency_key_id\)"),
        ("rides_ride", r"FOREIGN KEY \(user_id\) REFERENCES rides_user\(id\)"),
        ("rides_auditrecord", r"FOREIGN KEY \(user_id\) REFERENCES rides_user\(id\)"),
    ],
)
def test_the_schema_holds_the_originals_rules(table, rule):
    """A foreign key without an action refuses to let its user go, as RESTRICT does."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass",
            [table],
        )
        rules = [definition for (definition,) in cursor.fetchall()]

    [found] = [each for each in rules if re.match(rule, each)]
    assert "ON DELETE" not in found


def test_coordinates_are_numeric_13_10():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name, format_type(atttypid, atttypmod)"
            "  FROM information_schema.columns"
            "  JOIN pg_attribute ON attrelid = 'rides_ride'::regclass AND attname = column_name"
            " WHERE table_name = 'rides_ride' AND column_name ~ '_l(at|on)$'"
        )
        assert dict(cursor.fetchall()) == dict.fromkeys(COORDINATES, "numeric(13,10)")


def test_the_ideal_reaper_puts_what_could_not_be_finished_on_a_list_for_a_person(api):
    fail_midway(api.url)
    let_time_pass(timedelta(hours=73))

    assert run("reaper", "--once") == "reaped=0"

    assert the_key().needs_review_at is not None
    assert the_key().recovery_point == RIDE_CREATED
