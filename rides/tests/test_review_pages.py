"""The review list in the admin: a person reads why, asks Stripe, decides with a reason."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from idempotency.models import IdempotencyKey
from idempotency.testing.clock import let_time_pass
from rides import payments
from rides.models import User
from rides.operations import RIDE_CREATED
from rides.tests.factories import IdempotencyKeyFactory, RideFactory

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/idempotency/requestunderreview/"
KEYS = "/admin/idempotency/idempotencykey/"
REASON = {"reason": "Ticket 12"}
ANSWER = {"status": "410", "message": "Please book again."}
WHY = "The outcome of charge_rider is not known, and it is too late to send it again."
AN_HOUR = timedelta(hours=1)


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ann@example.com"))
    return client


@pytest.fixture
def key(rider: User) -> IdempotencyKey:
    """A ride's request on the list; Stripe has its charge, which nobody recorded."""
    key = IdempotencyKeyFactory(
        user=rider,
        request_params={
            "origin_lat": 37.7793,
            "origin_lon": -122.4193,
            "target_lat": 34.0522,
            "target_lon": -118.2437,
        },
        recovery_point=RIDE_CREATED,
        last_error=WHY,
    )
    ride = RideFactory(user=rider, idempotency_key=key)
    payments.charge(ride)
    IdempotencyKey.objects.update(foreign_sent_at=key.created_at, needs_review_at=key.created_at)
    let_time_pass(timedelta(hours=21))
    return key


def page(operator: Client, url: str) -> str:
    response = operator.get(url)
    assert response.status_code == 200
    return response.content.decode()


def test_the_admins_own_page_of_a_request_leads_to_the_keys(operator, key):
    response = operator.get(f"{LIST}{key.pk}/change/")

    assert response.headers["Location"] == f"{KEYS}{key.pk}/change/"


def listed(operator: Client, url: str) -> list[int]:
    return [row.pk for row in operator.get(url).context["cl"].result_list]


def decide(operator: Client, key: IdempotencyKey, slug: str, **fields: str) -> str:
    """Fill in the form and send it; return the page that follows."""
    page = f"{KEYS}{key.pk}/decide/{slug}/"
    fields = {"lease_token": token_on(operator, page), **fields}
    response = operator.post(page, fields, follow=True)
    assert response.status_code == 200
    return response.content.decode()


def token_on(operator: Client, page: str) -> str:
    """What the page's hidden field carries."""
    return str(operator.get(page).context["form"]["lease_token"].value())


def stored(key: IdempotencyKey) -> IdempotencyKey:
    return IdempotencyKey.objects.get(pk=key.pk)


# The list.


def test_the_list_has_the_requests_that_need_review_and_why(operator, key):
    IdempotencyKeyFactory()

    shown = page(operator, LIST)

    assert listed(operator, LIST) == [key.pk]
    assert WHY in shown
    assert f'href="{KEYS}{key.pk}/change/"' in shown
    assert "Requests that need review" in page(operator, "/admin/")


def test_a_request_is_found_by_its_rider(operator, key):
    IdempotencyKeyFactory(needs_review_at=key.created_at)

    assert listed(operator, f"{LIST}?q={key.user.email}") == [key.pk]


# The page of a request.


def test_a_request_that_needs_review_has_a_button_for_each_decision(operator, key):
    shown = page(operator, f"{KEYS}{key.pk}/change/")

    for place in ("ask", "decide/run-again", "decide/adopt", "decide/undo", "decide/close"):
        assert f'href="{KEYS}{key.pk}/{place}/"' in shown


def test_any_other_request_has_none(operator):
    key = IdempotencyKeyFactory()

    assert "/decide/" not in page(operator, f"{KEYS}{key.pk}/change/")


def test_stripe_is_asked_and_nothing_is_changed(operator, key, stand_in):
    journal = stored(key).journal

    shown = page(operator, f"{KEYS}{key.pk}/ask/")

    assert stand_in.charges()[0]["id"] in shown
    assert (stored(key).journal, stored(key).is_under_review) == (journal, True)


@pytest.mark.parametrize("slug", ["run-again", "adopt", "undo", "close"])
def test_a_button_leads_to_a_form_that_says_what_will_happen(operator, key, slug):
    shown = page(operator, f"{KEYS}{key.pk}/decide/{slug}/")

    assert '<p class="help">' in shown
    assert 'name="reason"' in shown
    assert WHY in shown
    assert stored(key).is_under_review


# The decisions: what is said of each is in idempotency/tests/test_decisions.py.


def test_what_is_refused_is_said_on_the_form_and_the_request_stays_on_the_list(operator, key):
    shown = decide(operator, key, "adopt", reference="ch_unknown", **REASON)

    assert "Nothing was done." in shown
    assert "has no charge ch_unknown" in shown
    assert 'value="ch_unknown"' in shown
    assert stored(key).is_under_review


def test_a_decision_is_shown_on_the_page_of_its_request(operator, key):
    assert "close by ann@example.com: Ticket 12" in decide(
        operator, key, "close", **ANSWER, **REASON
    )


def test_a_decision_that_does_not_say_what_was_seen_is_not_taken(operator, key):
    operator.post(f"{KEYS}{key.pk}/decide/close/", ANSWER | REASON)

    assert stored(key).is_under_review


# Who may.


@pytest.fixture
def reader() -> Client:
    """Staff who may look at keys and change none."""
    staff = User.objects.create_user("bob@example.com", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_idempotencykey"))
    client = Client()
    client.force_login(staff)
    return client


def test_whoever_may_only_look_decides_nothing(reader, key):
    assert "/decide/" not in page(reader, f"{KEYS}{key.pk}/change/")
    assert reader.get(f"{KEYS}{key.pk}/ask/").status_code == 403
    assert reader.post(f"{KEYS}{key.pk}/decide/undo/", REASON).status_code == 403
    assert stored(key).is_under_review


def test_a_rider_decides_nothing(key):
    client = Client()
    client.force_login(key.user)

    assert client.post(f"{KEYS}{key.pk}/decide/undo/", REASON).status_code == 302
    assert stored(key).is_under_review


def test_a_decision_needs_the_forms_own_token(key):
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("ann@example.com"))

    assert client.post(f"{KEYS}{key.pk}/decide/undo/", REASON).status_code == 403
    assert stored(key).is_under_review


@pytest.mark.parametrize("place", ["7/ask/", "7/decide/undo/", "{}/decide/anything/"])
def test_what_is_not_there_is_not_found(operator, key, place):
    assert operator.get(KEYS + place.format(key.pk)).status_code == 404
