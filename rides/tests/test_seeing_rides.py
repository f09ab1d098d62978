"""`GET /rides` and `GET /rides/{id}`: what was booked, for the rider who booked it."""

import uuid

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from idempotency.models import IdempotencyKey
from rides.models import User
from rides.tests.booking import ask
from rides.tests.factories import RideFactory, RiderFactory

pytestmark = pytest.mark.django_db

A_RIDE = "/rides/0d9cbd3e-6f1b-4cf0-8c3b-1f7b7d0f3c11"


@pytest.fixture
def ann() -> User:
    return RiderFactory()


def see(path: str, rider: User | None, method: str = "get"):
    headers = {"Authorization": rider.email} if rider else {}
    return getattr(Client(), method)(path, headers=headers)


def ids(answer) -> list[str]:
    return [ride["id"] for ride in answer.json()["rides"]]


@pytest.mark.django_db(transaction=True)
def test_a_booking_says_where_its_ride_is_and_a_replay_says_it_again(rider, stand_in):
    first, again = ask(rider=rider.email), ask(rider=rider.email)

    seen = see(first.headers["Location"], rider)

    assert first.headers["Location"] == again.headers["Location"]
    assert (seen.status_code, seen.json()["status"]) == (200, "paid")
    assert seen.json()["origin"] == {"lat": "37.7793", "lon": "-122.4193"}
    assert (seen.json()["amount_cents"], seen.json()["currency"]) == (2000, "usd")


def test_pages_lead_through_all_rides_the_latest_first_while_more_are_booked(ann):
    rides = [RideFactory(user=ann) for _ in range(5)]
    RideFactory()  # another rider's

    first = see("/rides?limit=2", ann)
    RideFactory(user=ann)
    second = see(first.json()["next"], ann)
    third = see(second.json()["next"], ann)

    found = [*ids(first), *ids(second), *ids(third)]
    assert found == [str(ride.public_id) for ride in reversed(rides)]
    assert third.json()["next"] is None


def test_without_rides_the_page_is_empty(ann):
    assert see("/rides", ann).json() == {"rides": [], "next": None}


def test_a_page_costs_two_statements_however_many_rides_there_are(ann):
    for _ in range(30):
        RideFactory(user=ann)

    with CaptureQueriesContext(connection) as queries:
        answer = see("/rides?limit=25", ann)

    assert len(ids(answer)) == 25
    assert len(queries) == 1 + 2  # the credential's


def test_a_page_is_read_by_its_index(ann):
    with connection.cursor() as cursor:
        for way in ("seqscan", "bitmapscan", "sort"):  # which a small table is read by
            cursor.execute(f"SET LOCAL enable_{way} = off")
        cursor.execute(
            "EXPLAIN SELECT * FROM rides_ride "
            "WHERE user_id = %s AND id < 9 ORDER BY id DESC LIMIT 3",
            [ann.pk],
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())

    assert "ride_of_user" in plan
    assert "Sort" not in plan


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ({}, "not_paid"),
        ({"stripe_payment_intent_id": "pi_1", "stripe_charge_id": "ch_1"}, "paid"),
        ({"cancelled_at": timezone.now()}, "cancelled"),
    ],
)
def test_a_rides_status_is_what_became_of_it(ann, state, status):
    ride = RideFactory(user=ann, idempotency_key=None, **state)

    assert see(f"/rides/{ride.public_id}", ann).json()["status"] == status


def test_a_ride_whose_request_is_unfinished_is_in_progress(ann):
    ride = RideFactory(user=ann)
    IdempotencyKey.objects.filter(pk=ride.idempotency_key_id).update(
        recovery_point="ride_created", response_code=None, response_body=None
    )

    assert see(f"/rides/{ride.public_id}", ann).json()["status"] == "in_progress"


def test_anothers_ride_is_not_there_and_neither_is_none(ann):
    of_another = RideFactory()

    answers = [see(f"/rides/{id}", ann) for id in (of_another.public_id, uuid.uuid4())]

    assert {answer.status_code for answer in answers} == {404}
    assert answers[0].content == answers[1].content
    assert see(f"/rides?before={of_another.public_id}", ann).status_code == 422


def test_the_number_of_a_ride_leads_nowhere(ann):
    assert see(f"/rides/{RideFactory(user=ann).pk}", ann).status_code == 404


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "before=7", "before=", "limit="]
)
def test_a_page_that_is_none_is_refused(ann, query):
    answer = see(f"/rides?{query}", ann)

    assert (answer.status_code, answer.json()["code"]) == (422, "parameters_invalid")


def test_a_query_of_thousands_of_fields_is_refused(ann):
    answer = see(f"/rides?{'a=1&' * 3000}", ann)

    assert (answer.status_code, answer.json()["code"]) == (422, "parameters_invalid")


@pytest.mark.parametrize("path", [A_RIDE, "/requests"])
def test_another_method_without_a_form_token_is_a_405_all_the_same(ann, path):
    client = Client(enforce_csrf_checks=True)

    answer = client.post(path, headers={"Authorization": ann.email})

    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/rides", A_RIDE])
def test_who_is_nobody_sees_nothing(path):
    assert see(path, None).json()["code"] == "unauthenticated"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/rides", "GET, HEAD, POST"), (A_RIDE, "GET, HEAD")],
)
def test_another_method_is_told_what_is_allowed(ann, path, allowed):
    answer = see(path, ann, "delete")

    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
