"""Open refunds and disputes on the review list, and what a person decides on them."""

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError
from django.test import Client

from rides.models import AuditRecord, Dispute, Refund, Ride, User
from rides.payments.client import client
from rides.payments.refunds import INSTEAD_OF
from rides.tests.booking import ask, run, the_key
from rides.tests.going_back import off, reconciled, standings, the_charge
from rides.tests.reviewing import left_with_us, put_on_the_list, review

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

LIST = "/admin/idempotency/requestunderreview/"
WHY = ("--reason", "Ticket 12", "--reviewer", "ann")
LOST = "lost_or_stolen_card"


@pytest.fixture(autouse=True)
def credential(settings) -> None:
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "AUTHENTICATE": "rides.authentication.demo_rider",
    }


@pytest.fixture
def failed(stand_in, riders):
    """The refund of a cancelled ride, which failed weeks later; its id."""
    stand_in.add_fault("reset_after", times=2, path="POST /v1/payment_intents")
    ask()
    put_on_the_list()
    review("undo")
    refund = Refund.objects.get().stripe_id
    stand_in.settle(refund, succeeds=False)
    reconciled()
    assert left_with_us(stand_in) == 2000
    return refund


@pytest.fixture
def disputed(stand_in, riders):
    """A dispute of a booked ride's charge; its id."""
    ask()
    dispute = stand_in.dispute(the_charge(stand_in))
    reconciled()
    return dispute


# The list.


def test_they_stand_beside_the_requests(failed, disputed_too):
    refund, dispute, total = run("review", "list").splitlines()

    assert refund.startswith(failed)
    ride = Ride.objects.earliest("pk")
    assert refund.endswith(f"refund failed  of 20.00 USD for ride {ride.pk}  {LOST}")
    assert dispute.startswith(disputed_too)
    assert total == "needs_review=0 beside=2"


@pytest.fixture
def disputed_too(failed, stand_in):
    ask(key="another-key-long-enough")
    charge = Ride.objects.latest("pk").stripe_charge_id
    dispute = stand_in.dispute(charge)
    reconciled()
    return dispute


def test_what_is_settled_does_not(failed, stand_in):
    run("review", "settle", failed, *WHY)

    assert run("review") == "needs_review=0"


# Trying again.


def test_a_failed_refund_is_followed_by_another_one(failed, stand_in):
    said = run("review", "try-again", failed, *WHY)

    assert said.startswith(f"Refunded again: {failed} by re_")
    assert left_with_us(stand_in) == 0
    assert standings() == [("failed", "settled"), ("succeeded", "settled")]
    made = Refund.objects.latest("pk")
    assert (made.ride, made.is_ours, made.amount_cents) == (Ride.objects.get(), True, 2000)


def test_the_decision_is_on_the_row_and_in_the_rides_records_and_the_key_is_untouched(failed):
    before = the_key()

    run("review", "try-again", failed, *WHY)

    row = Refund.objects.get(stripe_id=failed)
    assert (row.settled_by, row.settled_note) == ("ann", "Ticket 12")
    record = AuditRecord.objects.get(action="review.refund_again")
    assert record.data == {"reviewer": "ann", "reason": "Ticket 12", "refund": failed}
    assert (record.resource_type, record.resource_id) == ("ride", Ride.objects.get().pk)
    after = the_key()
    assert (after.journal, after.lease_token) == (before.journal, before.lease_token)


def test_one_that_fails_again_can_be_tried_again(failed, stand_in):
    run("review", "try-again", failed, *WHY)
    second = Refund.objects.latest("pk").stripe_id
    stand_in.settle(second, succeeds=False)
    reconciled()
    assert standings() == [("failed", "settled"), ("failed", "open")]

    run("review", "try-again", second, *WHY)

    assert left_with_us(stand_in) == 0
    assert standings()[-2:] == [("failed", "settled"), ("succeeded", "settled")]


@pytest.mark.parametrize("is_remembered", [True, False])
def test_a_decision_whose_answer_was_lost_is_the_same_refund_when_it_is_repeated(
    failed, stand_in, is_remembered
):
    stand_in.add_fault("reset_after", times=2, path="POST /v1/refunds")
    with pytest.raises(CommandError, match="no definite answer"):
        run("review", "try-again", failed, *WHY)
    assert Refund.objects.get(stripe_id=failed).is_open
    if not is_remembered:
        stand_in.prune_keys()

    run("review", "try-again", failed, *WHY)

    [made, _] = client().v1.refunds.list().data
    assert made.metadata[INSTEAD_OF] == failed
    assert left_with_us(stand_in) == 0


def test_two_parts_that_failed_are_each_tried_again(stand_in, riders):
    ask()
    charge = the_charge(stand_in)
    parts = [stand_in.refund(charge, amount=500) for _ in range(2)]
    for part in parts:
        stand_in.settle(part, succeeds=False)
    reconciled()

    for part in parts:
        run("review", "try-again", part, *WHY)

    assert left_with_us(stand_in) == 1000


def test_what_stripe_refuses_stays_on_the_list(failed, stand_in):
    stand_in.refund(the_charge(stand_in))

    with pytest.raises(CommandError, match="charge_already_refunded"):
        run("review", "try-again", failed, *WHY)

    assert Refund.objects.get(stripe_id=failed).is_open


def test_while_the_rides_own_request_is_open_that_decides(stand_in, riders):
    stand_in.add_fault("reset_after", times=2, path="POST /v1/payment_intents")
    ask()
    refund = stand_in.refund(the_charge(stand_in))
    stand_in.settle(refund, succeeds=False)
    reconciled()

    with pytest.raises(CommandError, match="is not finished"):
        run("review", "try-again", refund, *WHY)

    assert left_with_us(stand_in) == 2000


def test_only_a_refund_that_failed_can_be_tried_again(disputed):
    with pytest.raises(CommandError, match="this is no decision on it"):
        run("review", "try-again", disputed, *WHY)


# Settling by hand.


def test_a_dispute_is_settled_by_hand(disputed):
    assert run("review", "settle", disputed, *WHY) == f"Settled: {disputed}."

    row = Dispute.objects.get()
    assert (row.settled_by, row.settled_note, row.is_open) == ("ann", "Ticket 12", False)
    record = AuditRecord.objects.get(action="review.settle")
    assert record.data == {"reviewer": "ann", "reason": "Ticket 12", "dispute": disputed}


def test_what_belongs_to_no_ride_is_settled_too(disputed):
    Dispute.objects.update(ride=None)

    run("review", "settle", disputed, *WHY)

    assert not Dispute.objects.get().is_open
    assert not AuditRecord.objects.filter(action="review.settle").exists()


def test_what_a_person_has_settled_is_not_told_of_its_charge_either(stand_in, riders):
    ask()
    refund = stand_in.refund(the_charge(stand_in), amount=500)
    reconciled()

    run("review", "settle", refund, *WHY)

    assert off() == []


@pytest.mark.parametrize("name", ["du_nowhere", "1", ""])
def test_what_does_not_wait_cannot_be_decided(disputed, name):
    with pytest.raises(CommandError, match="does not wait"):
        run("review", "settle", name, *WHY)


@pytest.mark.parametrize("missing", [("--reason", " "), ("--reviewer", " ")])
def test_a_decision_says_who_and_why(disputed, missing):
    with pytest.raises(CommandError):
        run("review", "settle", disputed, *WHY, *missing)

    assert Dispute.objects.get().is_open


# In the admin.


@pytest.fixture
def operator(db) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ann@example.com"))
    return client


def page(operator: Client, url: str) -> str:
    response = operator.get(url)
    assert response.status_code == 200
    return response.content.decode()


def test_the_review_list_shows_them_with_their_decisions(operator, failed, disputed_too):
    shown = page(operator, LIST)

    assert f'href="{LIST}{failed}/decide/try-again/"' in shown
    assert f'href="{LIST}{failed}/decide/settle/"' in shown
    assert f'href="{LIST}{disputed_too}/decide/settle/"' in shown
    assert f'href="{LIST}{disputed_too}/decide/try-again/"' not in shown
    assert f'href="/admin/rides/refund/{Refund.objects.get().pk}/change/"' in shown


def test_a_decision_is_taken_on_its_page(operator, failed, stand_in):
    url = f"{LIST}{failed}/decide/try-again/"
    assert "Another refund of the same amount" in page(operator, url)

    shown = operator.post(url, {"state": "failed", "reason": "Ticket 12"}, follow=True)

    assert f"Refunded again: {failed} by re_" in shown.content.decode()
    assert left_with_us(stand_in) == 0
    assert Refund.objects.get(stripe_id=failed).settled_by == "ann@example.com"


def test_a_decision_on_what_has_changed_since_is_refused(operator, disputed, stand_in):
    url = f"{LIST}{disputed}/decide/settle/"
    stand_in.settle(disputed, succeeds=False)
    reconciled()

    shown = operator.post(url, {"state": "needs_response", "reason": "Ticket 12"})

    assert "is not as you saw it" in shown.content.decode()
    assert Dispute.objects.get().is_open


@pytest.mark.parametrize("path", ["du_nowhere/decide/settle/", "{}/decide/try-again/"])
def test_a_page_of_what_cannot_be_decided_is_not_found(operator, disputed, path):
    assert operator.get(LIST + path.format(disputed)).status_code == 404


@pytest.mark.parametrize(
    ("permissions", "sees", "status"),
    [([], False, 403), (["view_dispute"], True, 403), (["change_dispute"], True, 200)],
)
def test_whoever_may_not_change_them_decides_nothing(disputed, permissions, sees, status):
    staff = User.objects.create_user("bob@example.com", is_staff=True)
    for codename in (*permissions, "view_requestunderreview"):
        staff.user_permissions.add(Permission.objects.get(codename=codename))
    reader = Client()
    reader.force_login(staff)

    assert (disputed in page(reader, LIST)) is sees
    assert reader.get(f"{LIST}{disputed}/decide/settle/").status_code == status


def test_each_has_a_page_and_is_found_by_what_is_known_of_it(operator, disputed, stand_in):
    row, charge = Dispute.objects.get(), the_charge(stand_in)

    shown = page(operator, f"/admin/rides/dispute/{row.pk}/change/")

    assert disputed in shown
    assert charge in shown
    for term in (disputed, charge, str(row.ride_id)):
        assert disputed in page(operator, f"/admin/rides/dispute/?q={term}")
    assert disputed not in page(operator, "/admin/rides/dispute/?open=settled")


def test_the_page_of_a_request_leads_to_them(operator, disputed):
    shown = page(operator, f"/admin/idempotency/idempotencykey/{the_key().pk}/change/")

    assert f"/admin/rides/dispute/{Dispute.objects.get().pk}/change/" in shown
    assert "needs_response, open" in shown
