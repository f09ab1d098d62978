"""The review list in the admin: a person reads why, asks Stripe, decides with a reason."""

import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from idempotency.models import IdempotencyKey
from idempotency.testing.clock import let_time_pass
from rides import payments
from rides.models import AuditRecord, Ride, User
from rides.operations import RIDE_CREATED
from rides.tests.factories import IdempotencyKeyFactory, RideFactory, RiderFactory

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


def test_that_stripe_does_not_answer_is_shown(operator, key, stand_in):
    stand_in.add_fault("rate_limit", path="GET /v1/payment_intents")

    assert "HTTP 429" in page(operator, f"{KEYS}{key.pk}/ask/")


@pytest.mark.parametrize("slug", ["run-again", "adopt", "undo", "close"])
def test_a_button_leads_to_a_form_that_says_what_will_happen(operator, key, slug):
    shown = page(operator, f"{KEYS}{key.pk}/decide/{slug}/")

    assert '<p class="help">' in shown
    assert 'name="reason"' in shown
    assert WHY in shown
    assert stored(key).is_under_review


# The decisions.


def test_a_request_is_run_again(operator, key, stand_in):
    shown = decide(operator, key, "run-again", **REASON)

    assert "The request is finished, with 201" in shown
    assert "run_again by ann@example.com: Ticket 12" in shown
    assert len(stand_in.charges()) == 1


def test_a_charge_is_adopted(operator, key, stand_in):
    charge_id = stand_in.charges()[0]["id"]

    decide(operator, key, "adopt", reference=charge_id, **REASON)

    assert Ride.objects.get().stripe_charge_id == charge_id
    assert stored(key).response_code == 201


def test_a_ride_is_cancelled_and_its_charge_is_refunded(operator, key, stand_in):
    shown = decide(operator, key, "undo", **REASON)

    assert "The request is finished, with 409" in shown
    assert stand_in.charges()[0]["amount_refunded"] == 2000
    assert Ride.objects.get().cancelled_at is not None


def test_a_request_is_closed(operator, key, stand_in):
    decide(operator, key, "close", **ANSWER, **REASON)

    assert stored(key).response_code == 410
    assert "Please book again." in str(stored(key).response_body)
    assert stand_in.charges()[0]["amount_refunded"] == 0


@pytest.mark.parametrize(
    ("slug", "fields"), [("run-again", {}), ("adopt", {"reference": "ch_1"}), ("undo", {})]
)
@pytest.mark.parametrize("reason", ["", "  "])
def test_nothing_is_decided_without_a_reason(operator, key, slug, fields, reason):
    shown = decide(operator, key, slug, reason=reason, **fields)

    assert "Nothing was done." in shown
    assert "This field is required." in shown
    assert stored(key).is_under_review
    assert not AuditRecord.objects.filter(action__startswith="review.").exists()


def test_what_is_refused_is_said_on_the_form_and_the_request_stays_on_the_list(operator, key):
    shown = decide(operator, key, "adopt", reference="ch_unknown", **REASON)

    assert "has no charge ch_unknown" in shown
    assert 'value="ch_unknown"' in shown
    assert stored(key).is_under_review


def test_a_decision_that_could_not_be_carried_out_yet_says_so(operator, key, stand_in):
    stand_in.add_fault("rate_limit", path="POST /v1/refunds")

    shown = decide(operator, key, "undo", **REASON)

    assert "HTTP 429" in shown
    assert stored(key).recovery_point == f"undo {RIDE_CREATED}"


def test_a_request_that_somebody_else_decided_on_is_left_as_it_is(operator, key):
    decide(operator, key, "close", **ANSWER, **REASON)
    before = stored(key).journal

    assert "is not on the review list" in decide(operator, key, "undo", **REASON)
    assert stored(key).journal == before


def test_a_page_that_was_opened_before_a_failover_decides_on_nobody_elses_request(operator, key):
    """The new primary has lost the request, and has given its number to another rider's."""
    seen = token_on(operator, f"{KEYS}{key.pk}/decide/close/")
    IdempotencyKey.objects.filter(pk=key.pk).update(
        user=RiderFactory(), lease_token=uuid.uuid4(), idempotency_key="another-riders-key-0001"
    )
    before = stored(key).journal

    shown = decide(operator, key, "close", lease_token=seen, **ANSWER, **REASON)

    assert "is not as you saw it" in shown
    assert stored(key).is_under_review
    assert stored(key).journal == before


def test_a_decision_that_does_not_say_what_was_seen_is_not_taken(operator, key):
    operator.post(f"{KEYS}{key.pk}/decide/close/", ANSWER | REASON)

    assert stored(key).is_under_review


def test_a_decision_is_recorded_with_who_took_it(operator, key):
    decide(operator, key, "close", **ANSWER, **REASON)

    record = AuditRecord.objects.get(action="review.close")
    assert record.data == {
        "reviewer": "ann@example.com",
        "reason": "Ticket 12",
        "idempotency_key_id": key.pk,
    }


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
