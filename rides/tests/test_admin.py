"""The admin: what an operator finds, how, and what nobody can change by hand."""

import uuid
from datetime import timedelta

import pytest
from django.contrib.admin import site
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from idempotency.admin.lists import KeysetAdmin
from idempotency.models import IdempotencyKey, JobDelivery, StagedJob
from rides.models import AuditRecord, Ride, User
from rides.tests.factories import (
    AuditRecordFactory,
    IdempotencyKeyFactory,
    RideFactory,
    RiderFactory,
)

pytestmark = pytest.mark.django_db

KEYS = "/admin/idempotency/idempotencykey/"
STAGED_JOBS = "/admin/idempotency/stagedjob/"
DELIVERIES = "/admin/idempotency/jobdelivery/"
RIDES = "/admin/rides/ride/"
AUDIT_RECORDS = "/admin/rides/auditrecord/"
USERS = "/admin/rides/user/"

JOB = {"job_name": "rides.tasks.send_ride_receipt", "job_args": {"args": [], "kwargs": {}}}
ANSWER = {
    "recovery_point": "finished",
    "response_code": 201,
    "response_body": b'{"message": "Payment accepted."}',
    "response_content_type": "application/json",
}
TOMBSTONE = {**ANSWER, "response_body": None, "response_content_type": None}


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("admin@example.com"))
    return client


def page(operator: Client, url: str, **query: object) -> str:
    response = operator.get(url, query)
    assert response.status_code == 200
    return response.content.decode()


def listed(operator: Client, url: str, **query: object) -> list[object]:
    """The rows that a list shows."""
    response = operator.get(url, query)
    assert response.status_code == 200, response.headers
    return list(response.context["cl"].result_list)


# Lists.


@pytest.mark.parametrize(
    ("url", "make"),
    [
        (KEYS, IdempotencyKeyFactory),
        (RIDES, RideFactory),
        (AUDIT_RECORDS, AuditRecordFactory),
        (USERS, RiderFactory),
        (STAGED_JOBS, lambda: StagedJob.objects.create(job_id=uuid.uuid4(), **JOB)),
        (DELIVERIES, lambda: JobDelivery.objects.create(job_id=uuid.uuid4(), **JOB)),
    ],
)
def test_a_list_counts_nothing_and_skips_over_nothing(operator, url, make):
    make()

    with CaptureQueriesContext(connection) as queries:
        assert len(listed(operator, url)) >= 1

    statements = " ".join(query["sql"] for query in queries)
    assert len(queries) <= 3  # the session, the operator, the rows
    assert "COUNT(" not in statements
    assert "OFFSET" not in statements


def test_every_row_is_on_one_page(operator, monkeypatch):
    monkeypatch.setattr(KeysetAdmin, "list_per_page", 2)
    keys = [IdempotencyKeyFactory() for _ in range(5)]
    seen, url = [], KEYS
    while url:
        response = operator.get(url)
        seen += response.context["cl"].result_list
        older = response.context["cl"].older_url
        assert ("Older" in response.content.decode()) == bool(older)
        url = older and KEYS + older

    assert seen == sorted(keys, key=lambda key: -key.pk)


def test_a_page_leads_back_to_the_newest_rows(operator, monkeypatch):
    monkeypatch.setattr(KeysetAdmin, "list_per_page", 2)
    keys = [IdempotencyKeyFactory() for _ in range(3)]

    older = operator.get(KEYS, {"state": "waiting", "id__lt": keys[1].pk})

    assert older.context["cl"].newest_url == "?state=waiting"
    assert listed(operator, KEYS)[0] == keys[2]


# Searching.


def test_a_key_is_found_by_its_beginning_its_number_and_its_user(operator):
    IdempotencyKeyFactory()
    wanted = IdempotencyKeyFactory(idempotency_key="find-me-please-" + "x" * 20)

    for term in ("find-me", wanted.idempotency_key, wanted.pk, wanted.user.email.upper()):
        assert listed(operator, KEYS, q=term) == [wanted]
    for term in ("nothing", "find%", "0", "9" * 30, "nobody@example.com"):
        assert listed(operator, KEYS, q=term) == []


def test_a_key_is_found_by_a_user_name_that_is_no_address(operator, monkeypatch):
    """As in a project whose users log in with a name."""
    IdempotencyKeyFactory()
    wanted = IdempotencyKeyFactory(user=RiderFactory(stripe_customer_id="jane"))
    monkeypatch.setattr(User, "USERNAME_FIELD", "stripe_customer_id")

    assert listed(operator, KEYS, q="jane") == [wanted]
    assert listed(operator, KEYS, q="jan") == [wanted]
    assert listed(operator, KEYS, q="ja") == []


def test_a_ride_is_found_by_its_charge_its_payment_its_key_its_number_and_its_rider(operator):
    RideFactory()
    wanted = RideFactory(stripe_charge_id="ch_1", stripe_payment_intent_id="pi_1")
    key = wanted.idempotency_key.idempotency_key

    for term in ("ch_1", "pi_1", key, wanted.pk, wanted.user.email):
        assert listed(operator, RIDES, q=term) == [wanted]
    assert listed(operator, RIDES, q="ch_") == []


def test_an_audit_record_is_found_by_its_ride_and_its_user(operator):
    AuditRecordFactory(resource_id=1)
    wanted = AuditRecordFactory(resource_id=2)

    assert listed(operator, AUDIT_RECORDS, q=2) == [wanted]
    assert listed(operator, AUDIT_RECORDS, q=wanted.user.email) == [wanted]
    assert listed(operator, AUDIT_RECORDS, q="anything") == []


def test_a_user_is_found_by_address_customer_and_number(operator):
    RiderFactory()
    wanted = RiderFactory(stripe_customer_id="cus_wanted")

    for term in (wanted.email, "cus_wanted", wanted.pk):
        assert listed(operator, USERS, q=term) == [wanted]


def test_a_job_is_found_by_its_id(operator):
    staged = StagedJob.objects.create(job_id=uuid.uuid4(), **JOB)
    owed = JobDelivery.objects.create(job_id=uuid.uuid4(), **JOB)

    assert listed(operator, STAGED_JOBS, q=staged.job_id) == [staged]
    assert listed(operator, STAGED_JOBS, q=owed.job_id) == []
    assert listed(operator, DELIVERIES, q=owed.job_id) == [owed]


# Filtering.


def test_keys_are_filtered_by_state(operator):
    now = timezone.now()
    keys = {
        "finished": IdempotencyKeyFactory(**ANSWER),
        "needs review": IdempotencyKeyFactory(needs_review_at=now),
        "in progress": IdempotencyKeyFactory(locked_at=now),
        "lease expired": IdempotencyKeyFactory(locked_at=now - timedelta(minutes=2)),
        "waiting": IdempotencyKeyFactory(),
    }

    for state, key in keys.items():
        assert listed(operator, KEYS, state=state) == [key]
        assert f'<span class="key-state {state.replace(" ", "-")}">{state}' in page(
            operator, f"{KEYS}{key.pk}/change/"
        )


def test_keys_are_filtered_by_recovery_point(operator):
    keys = {
        "started": IdempotencyKeyFactory(),
        "ride_created": IdempotencyKeyFactory(recovery_point="ride_created"),
        "charge_created": IdempotencyKeyFactory(
            recovery_point="charge_created", needs_review_at=timezone.now()
        ),
        "finished": IdempotencyKeyFactory(**ANSWER),
    }

    for point, key in keys.items():
        assert listed(operator, KEYS, recovery_point=point) == [key]
    assert all(f"?recovery_point={point}" in page(operator, KEYS) for point in keys)


def test_rows_are_filtered_by_age(operator):
    now = timezone.now()
    four_days_ago = now - timedelta(days=4)
    of_four_days_ago = {"created_at": four_days_ago, "last_run_at": four_days_ago}
    ages = {
        "new": IdempotencyKeyFactory(),
        "hours": IdempotencyKeyFactory(created_at=now - timedelta(hours=2)),
        "days": IdempotencyKeyFactory(created_at=now - timedelta(days=2)),
        "overdue": IdempotencyKeyFactory(created_at=now - timedelta(days=4)),
        "overdue and finished": IdempotencyKeyFactory(**of_four_days_ago, **ANSWER),
        "tombstone": IdempotencyKeyFactory(**of_four_days_ago, **TOMBSTONE),
    }
    by_age = {
        "hour": ["new"],
        "day": ["hours", "new"],
        "3-days": ["days", "hours", "new"],
        "overdue": ["overdue and finished", "overdue"],
    }

    for age, names in by_age.items():
        assert listed(operator, KEYS, age=age) == [ages[name] for name in names]


def test_rides_are_filtered_by_payment(operator):
    charged = RideFactory(stripe_charge_id="ch_1", stripe_payment_intent_id="pi_1")
    not_charged = RideFactory()

    assert listed(operator, RIDES, payment="charged") == [charged]
    assert listed(operator, RIDES, payment="not-charged") == [not_charged]


def test_deliveries_are_filtered_by_whether_they_are_still_tried(operator):
    owed = JobDelivery.objects.create(job_id=uuid.uuid4(), **JOB)
    aside = JobDelivery.objects.create(job_id=uuid.uuid4(), set_aside_at=timezone.now(), **JOB)

    assert listed(operator, DELIVERIES, state="owed") == [owed]
    assert listed(operator, DELIVERIES, state="set-aside") == [aside]


def test_audit_records_are_filtered_by_action(operator):
    AuditRecordFactory()
    sent = AuditRecordFactory(action=AuditRecord.Action.RECEIPT_SENT)

    assert listed(operator, AUDIT_RECORDS, action="receipt.sent") == [sent]


# Read-only.


@pytest.mark.parametrize(
    ("url", "make"),
    [
        (KEYS, IdempotencyKeyFactory),
        (RIDES, RideFactory),
        (AUDIT_RECORDS, AuditRecordFactory),
        (STAGED_JOBS, lambda: StagedJob.objects.create(job_id=uuid.uuid4(), **JOB)),
        (DELIVERIES, lambda: JobDelivery.objects.create(job_id=uuid.uuid4(), **JOB)),
    ],
)
def test_nobody_adds_changes_or_deletes_a_row_of_a_ledger(operator, url, make):
    row = make()

    assert operator.post(f"{url}add/").status_code == 403
    assert operator.post(f"{url}{row.pk}/change/", {"created_at": "x"}).status_code == 403
    assert operator.post(f"{url}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    operator.post(url, {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"})
    assert type(row).objects.filter(pk=row.pk).exists()
    assert 'type="submit" value="Save"' not in page(operator, f"{url}{row.pk}/change/")


def test_every_table_of_the_service_has_its_page():
    registered = {model.__name__ for model in site._registry}

    assert {
        *("IdempotencyKey", "StagedJob", "JobDelivery"),
        *("Ride", "AuditRecord", "User"),
    } <= registered


# Jobs that were set aside.


def test_a_job_that_was_set_aside_is_put_back_with_a_reason(operator):
    aside = JobDelivery.objects.create(
        job_id=uuid.uuid4(), set_aside_at=timezone.now(), deliveries=10, last_error="full", **JOB
    )
    form = {"action": "put-back", "index": 0, "_selected_action": aside.pk}
    address = operator.post(DELIVERIES, form).headers["Location"]

    assert "This field is required" in operator.post(address, {"limit": 1}).content.decode()
    aside.refresh_from_db()
    assert aside.set_aside_at is not None

    said = {"reason": "The disk is larger.", "limit": 10, "shown": f"{aside.pk}:"}
    answer = operator.post(address, said, follow=True)

    assert "Put back: 1 done, 0 refused." in answer.content.decode()
    aside.refresh_from_db()
    assert (aside.set_aside_at, aside.deliveries) == (None, 0)
    assert aside.last_error.endswith(": The disk is larger.; full")
    assert LogEntry.objects.get().change_message == "Put back: The disk is larger."


def test_who_may_only_look_puts_nothing_back(client):
    viewer = RiderFactory(is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_jobdelivery"))
    client.force_login(viewer)
    aside = JobDelivery.objects.create(job_id=uuid.uuid4(), set_aside_at=timezone.now(), **JOB)

    form = {"action": "put-back", "index": 0, "_selected_action": aside.pk}
    client.post(DELIVERIES, form)
    address = f"{DELIVERIES}act/put-back/?chosen={aside.pk}"
    assert client.post(address, {"reason": "please", "limit": 1}).status_code == 403

    aside.refresh_from_db()
    assert aside.set_aside_at is not None


# The key's page.


def test_a_keys_page_tells_what_happened(operator):
    key = IdempotencyKeyFactory(
        journal=[
            {"at": "2026-11-24T08:00:00.5+00:00", "event": "claimed", "attempt": 1},
            {
                "at": "2026-11-24T08:00:02.75+00:00",
                "event": "needs_review",
                "attempt": 1,
                "recovery_point": "ride_created",
                "ms": 12.3,
                "error": "<script>alert(1)</script>",
                "evidence": {"payment_intents": ["pi_1", "pi_2"]},
            },
        ]
    )

    shown = page(operator, f"{KEYS}{key.pk}/change/")

    assert "2026-11-24 08:00:00.500" in shown
    assert "+2.250 s" in shown
    assert "<strong>needs_review</strong>" in shown
    assert "<code>ride_created</code>" in shown
    assert "took 12.3 ms" in shown
    assert "pi_2" in shown
    assert "<script>alert(1)" not in shown
    assert "&lt;script&gt;alert(1)" in shown


def test_a_keys_page_leads_to_everything_that_the_key_left(operator):
    waiting, owed, aside, done = (str(uuid.uuid4()) for _ in range(4))
    key = IdempotencyKeyFactory(
        journal=[
            {
                "at": "2026-11-24T08:00:00+00:00",
                "event": "send_receipt",
                "attempt": 1,
                "jobs": [waiting, owed, aside, done],
            }
        ]
    )
    ride = RideFactory(idempotency_key=key, user=key.user)
    staged = StagedJob.objects.create(job_id=waiting, **JOB)
    delivery = JobDelivery.objects.create(job_id=owed, **JOB)
    JobDelivery.objects.create(job_id=aside, set_aside_at=timezone.now(), **JOB)

    shown = page(operator, f"{KEYS}{key.pk}/change/")

    assert f'<a href="{RIDES}{ride.pk}/change/">' in shown
    assert f'<a href="{AUDIT_RECORDS}?resource_type=ride&amp;resource_id={ride.pk}">' in shown
    assert f'<a href="{USERS}{key.user_id}/change/">' in shown
    assert f'<a href="{STAGED_JOBS}{staged.pk}/change/">' in shown
    assert f'<a href="{DELIVERIES}{delivery.pk}/change/">' in shown
    remarks = ("staged", "handed over, not done yet", "set aside", "done")
    assert all(f'<span class="remark">{remark}</span>' in shown for remark in remarks)


def test_a_keys_page_says_until_when_a_job_of_its_waits(operator):
    job_id = str(uuid.uuid4())
    told = {"at": "2026-11-24T08:00:00+00:00", "event": "remind", "attempt": 1, "jobs": [job_id]}
    key = IdempotencyKeyFactory(journal=[told])
    StagedJob.objects.create(job_id=job_id, run_after="2099-01-01T09:30Z", **JOB)

    assert "staged, not before 2099-01-01 09:30:00" in page(operator, f"{KEYS}{key.pk}/change/")


@pytest.mark.parametrize(("url", "model"), [(STAGED_JOBS, StagedJob), (DELIVERIES, JobDelivery)])
def test_a_jobs_page_shows_its_time_and_what_was_asked_of_the_queue(operator, url, model):
    asked = {"run_after": "2099-01-01T09:30Z", "priority": 0, "queue_name": "letters"}
    job = model.objects.create(job_id=uuid.uuid4(), **asked, **JOB)

    for shown in (page(operator, url), page(operator, f"{url}{job.pk}/change/")):
        assert "priority=0 queue=letters" in shown
    assert "2099-01-01 09:30:00" in page(operator, f"{url}{job.pk}/change/")


def test_jobs_for_later_are_told_from_those_for_now(operator):
    now = StagedJob.objects.create(job_id=uuid.uuid4(), **JOB)
    due = StagedJob.objects.create(job_id=uuid.uuid4(), run_after="2026-01-01T00:00Z", **JOB)
    later = StagedJob.objects.create(job_id=uuid.uuid4(), run_after="2099-01-01T00:00Z", **JOB)

    assert listed(operator, STAGED_JOBS, time="now") == [due, now]
    assert listed(operator, STAGED_JOBS, time="later") == [later]


def test_a_keys_page_shows_what_was_asked_without_its_types(operator):
    kept = {"begins_at": {"datetime": "2026-10-24T12:00:00+02:00"}, "fee": {"decimal": "12.50"}}
    key = IdempotencyKeyFactory(request_params=kept, path_kwargs={"course": "reef"})

    text = page(operator, f"{KEYS}{key.pk}/change/")

    assert "rides.CreateRide" in text
    assert "&quot;course&quot;: &quot;reef&quot;" in text
    assert "&quot;begins_at&quot;: &quot;2026-10-24T12:00:00+02:00&quot;" in text
    assert "&quot;fee&quot;: &quot;12.50&quot;" in text


def test_a_keys_page_shows_its_answer(operator):
    answered = IdempotencyKeyFactory(**ANSWER)
    unanswered = IdempotencyKeyFactory()

    assert "Payment accepted." in page(operator, f"{KEYS}{answered.pk}/change/")
    assert "none yet" in page(operator, f"{KEYS}{unanswered.pk}/change/")


def test_a_tombstone_says_what_is_left_of_its_answer(operator):
    tombstone = IdempotencyKeyFactory(**TOMBSTONE)

    shown = page(operator, f"{KEYS}{tombstone.pk}/change/")

    assert "201; the reaper has removed its body" in shown
    assert "removed with the answer" in shown
    assert "None" not in shown


def test_a_ride_leads_to_its_key_and_its_audit_records(operator):
    ride = RideFactory()
    record = AuditRecordFactory(resource_id=ride.pk)
    AuditRecordFactory(resource_id=ride.pk + 1)
    reaped = RideFactory(idempotency_key=None)

    shown = page(operator, f"{RIDES}{ride.pk}/change/")

    assert f'<a href="{KEYS}{ride.idempotency_key_id}/change/">' in shown
    assert listed(operator, AUDIT_RECORDS, resource_type="ride", resource_id=ride.pk) == [record]
    assert f'<a href="{RIDES}{ride.pk}/change/">' in page(
        operator, f"{AUDIT_RECORDS}{record.pk}/change/"
    )
    assert "reaped" in page(operator, f"{RIDES}{reaped.pk}/change/")


# Users.


def add_user(operator: Client, **fields: str) -> dict[str, list[str]]:
    """Fill in the form, and return its errors."""
    passwords = {"usable_password": "false", "password1": "", "password2": ""}
    response = operator.post(f"{USERS}add/", {**passwords, **fields})
    return {} if response.status_code == 302 else dict(response.context["adminform"].errors)


def test_a_rider_is_added_with_a_customer(operator):
    errors = add_user(operator, email="New@Example.com", stripe_customer_id="cus_new")

    assert errors == {}
    rider = User.objects.get(email="new@example.com")
    assert rider.stripe_customer_id == "cus_new"
    assert not rider.has_usable_password()


def test_a_rider_without_customer_is_refused_in_words(operator):
    errors = add_user(operator, email="new@example.com")

    assert errors == {"__all__": ["A rider needs a customer at Stripe; only staff need none."]}


def test_staff_are_added_without_customer(operator):
    assert add_user(operator, email="new@example.com", is_staff="on") == {}
    assert add_user(operator, email="newer@example.com", is_staff="on") == {}


def test_a_user_is_changed_but_the_customer_stays(operator):
    rider = RiderFactory(email="rider@example.com", stripe_customer_id="cus_1")

    operator.post(
        f"{USERS}{rider.pk}/change/",
        {"email": "Renamed@example.com", "stripe_customer_id": "cus_2"},
    )

    rider.refresh_from_db()
    assert (rider.email, rider.stripe_customer_id) == ("renamed@example.com", "cus_1")
    assert not rider.is_active


def test_a_user_with_rides_is_not_deleted(operator):
    rider = RideFactory().user

    operator.post(f"{USERS}{rider.pk}/delete/", {"post": "yes"})

    assert User.objects.filter(pk=rider.pk).exists()
    assert Ride.objects.filter(user=rider).exists()
    assert IdempotencyKey.objects.filter(user=rider).exists()


def test_a_rider_sees_nothing_of_the_admin():
    client = Client()
    client.force_login(RiderFactory())

    assert client.get(KEYS).status_code == 302
