"""The console's list of requests: what one box finds, and which questions are asked of it again."""

from datetime import timedelta
from urllib.parse import parse_qsl

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext

from idempotency.admin import lists
from idempotency.admin.keys import beginning_with
from idempotency.models import IdempotencyKey, StagedJob
from idempotency.testing.clock import let_time_pass
from rides.models import Ride, User
from rides.operations import RESEND_WINDOW
from rides.tests.booking import CHARGING, KEY, RIDER, RIDER_WITH_BAD_CARD, ask
from rides.tests.factories import IdempotencyKeyFactory, RideFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

KEYS = "/admin/idempotency/idempotencykey/"


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator@example.com"))
    return client


@pytest.fixture
def found(operator):
    """The keys that a list shows, by what the client called them."""

    def found(**query: str) -> list[str]:
        response = operator.get(KEYS, query)
        assert response.status_code == 200, response.headers
        return [key.idempotency_key for key in response.context["cl"].result_list]

    return found


@pytest.fixture
def booked() -> Ride:
    IdempotencyKeyFactory()  # another
    assert ask().status_code == 201
    return Ride.objects.get()


@pytest.mark.parametrize(
    "term",
    [
        lambda ride: KEY,
        lambda ride: KEY[:13],
        lambda ride: RIDER,
        lambda ride: RIDER.upper(),
        lambda ride: RIDER[:7],
        lambda ride: str(ride.idempotency_key_id),
        lambda ride: str(ride.public_id),
        lambda ride: str(ride.public_id)[:11],
        lambda ride: str(ride.foreign_key),
        lambda ride: ride.stripe_charge_id,
        lambda ride: ride.stripe_charge_id[:12],
        lambda ride: ride.stripe_payment_intent_id,
        lambda ride: ride.stripe_payment_intent_id[:9],
        lambda ride: str(StagedJob.objects.get().job_id),
        lambda ride: str(StagedJob.objects.get().job_id)[:8],
    ],
)
def test_one_box_finds_a_request_by_whatever_belongs_to_it(found, booked, term):
    assert found(q=term(booked)) == [KEY]


@pytest.mark.parametrize(
    "term",
    [
        "nobody@example.com",
        "us",
        "ffffff",
        "ch_nothing",
        "%",
        "_",
        "00000000-0000-4000-8000-000000000000",
        "9" * 30,
        "\\",
        "' OR 1=1",
        "é",
    ],
)
def test_a_term_of_nothing_finds_no_request(found, booked, term):
    assert found(q=term) == []


@pytest.mark.parametrize("number", [17, 987_654_321])
def test_a_rides_number_finds_its_request_beside_the_request_of_that_number(found, booked, number):
    Ride.objects.update(id=number)
    assert found(q=str(number)) == [KEY]

    IdempotencyKeyFactory(pk=number, idempotency_key="another-of-that-number")
    assert sorted(found(q=str(number))) == sorted([KEY, "another-of-that-number"])


def test_the_box_says_what_it_takes_and_that_a_request_id_is_looked_for_in_the_log(operator):
    page = operator.get(KEYS).content.decode()

    assert "that of a charge (ch_…)" in page
    assert "A request id stands in the log" in page


@pytest.fixture
def one_of_each(stand_in) -> None:
    ask("a-request-that-is-booked")
    ask("a-request-that-is-declined", rider=RIDER_WITH_BAD_CARD)
    ask("a-request-that-is-retried", raise_error="true")
    ask("a-request-that-is-retried")
    ask("a-request-that-is-reviewed", raise_error="true")
    IdempotencyKey.objects.filter(idempotency_key="a-request-that-is-reviewed").update(
        foreign_sent_at="2020-01-01T00:00Z"
    )
    let_time_pass(RESEND_WINDOW)
    ask("a-request-that-is-reviewed")
    stand_in.add_fault("error_before", times=1, path=CHARGING)
    ask("a-request-that-is-unknown")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"saved": "unknown"}, ["unknown"]),
        ({"saved": "unfinished"}, ["unknown"]),
        ({"saved": "stuck"}, []),
        ({"saved": "needs-review"}, ["reviewed"]),
        ({"saved": "declined"}, ["declined"]),
        ({"saved": "slow"}, []),
        ({"answer": "2xx"}, ["retried", "booked"]),
        ({"attempts": "2"}, ["reviewed", "retried"]),
        ({"error": "had"}, ["unknown", "reviewed", "retried"]),
        ({"error": "none"}, ["declined", "booked"]),
        ({"attempts": "5"}, []),
        ({"attempts": "2", "error": "had"}, ["reviewed", "retried"]),
        ({"attempts": "2", "error": "none"}, []),
        ({"saved": "unfinished", "error": "had"}, ["unknown"]),
        ({"saved": "declined", "error": "none", "answer": "4xx"}, ["declined"]),
        ({"saved": "needs-review", "attempts": "2", "error": "had"}, ["reviewed"]),
        ({"operation": "rides.CreateRide", "answer": "4xx"}, ["declined"]),
        ({"attempts": "2", "answer": "2xx"}, ["retried"]),
        ({"saved": "unknown", "q": "a-request-that-is-b"}, []),
        ({"saved": "nonsense"}, ["unknown", "reviewed", "retried", "declined", "booked"]),
    ],
)
def test_saved_views_and_filters_combine(found, one_of_each, query, names):
    assert found(**query) == [f"a-request-that-is-{name}" for name in names]


def test_slow_is_what_was_answered_after_more_than_ten_seconds(found, one_of_each):
    booked = IdempotencyKey.objects.get(idempotency_key="a-request-that-is-booked")
    IdempotencyKey.objects.filter(pk=booked.pk).update(
        last_run_at=booked.created_at + timedelta(seconds=11)
    )

    assert found(saved="slow") == ["a-request-that-is-booked"]
    assert found(saved="slow", attempts="2") == []


@pytest.mark.parametrize(
    ("query", "looks"),
    [
        ({"saved": "declined"}, True),
        ({"saved": "slow"}, True),
        ({"attempts": "2"}, True),
        ({"saved": "stuck", "error": "had"}, True),
        ({"saved": "stuck"}, False),
        ({"saved": "unknown", "state": "pending"}, False),
    ],
)
def test_a_page_looks_through_the_latest_only_where_no_index_leads(
    operator, booked, monkeypatch, query, looks
):
    monkeypatch.setattr(lists, "LOOKED_THROUGH", 1)
    changelist = operator.get(KEYS, query).context["cl"]

    assert (changelist.looked_down_to is not None) == looks


def test_stuck_is_what_is_unfinished_for_a_quarter_of_an_hour(found, one_of_each):
    IdempotencyKey.objects.update(created_at=Now() - timedelta(minutes=16))

    assert found(saved="stuck") == ["a-request-that-is-unknown"]


def test_a_filter_without_an_index_looks_through_the_latest_and_says_where_it_stopped(
    operator, found, monkeypatch
):
    monkeypatch.setattr(lists, "LOOKED_THROUGH", 10)
    rider = User.objects.get(email=RIDER)
    rare = IdempotencyKeyFactory(user=rider, attempt=7)
    for _ in range(30):
        IdempotencyKeyFactory(user=rider)

    seen, query, pages = [], {"attempts": "5"}, 0
    while rare.pk not in seen:
        response = operator.get(KEYS, query)
        changelist = response.context["cl"]
        seen += [key.pk for key in changelist.result_list]
        query = dict(parse_qsl((changelist.older_url or "").lstrip("?")))
        pages += 1

    assert seen == [rare.pk]
    assert pages == 4
    assert "Look further back" in operator.get(KEYS, {"attempts": "5"}).content.decode()


def test_a_list_counts_nothing(operator, booked):
    with CaptureQueriesContext(connection) as queries:
        operator.get(KEYS, {"saved": "declined"})

    asked = [query["sql"] for query in queries if "idempotency_idempotencykey" in query["sql"]]
    assert not any("COUNT(" in sql for sql in asked)


def test_a_key_is_found_by_its_beginning_by_an_index(booked):
    RideFactory()
    keys = IdempotencyKey.objects.filter(beginning_with(KEY[:8]))
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        try:
            assert "idempotency_key_beginning" in keys.explain()
        finally:
            cursor.execute("RESET enable_seqscan")


def test_a_request_leads_to_its_payment_at_stripe_and_to_its_users_others(
    operator, booked, settings
):
    page = operator.get(f"{KEYS}{booked.idempotency_key_id}/change/").content.decode()
    paid = booked.stripe_payment_intent_id

    assert f"https://dashboard.stripe.com/test/payments/{paid}" in page
    around = page.split("of the same user around that time")[0].rpartition('href="')[2]
    address = around.partition('"')[0].replace("&amp;", "&")
    shown = operator.get(address).context["cl"].result_list
    assert [key.idempotency_key for key in shown] == [KEY]

    settings.STRIPE_API_KEY = "sk_live_x"
    page = operator.get(f"{KEYS}{booked.idempotency_key_id}/change/").content.decode()
    assert f"https://dashboard.stripe.com/payments/{paid}" in page
