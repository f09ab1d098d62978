"""A ride on the review list: what a person can do about it, and what becomes of the money.

Each test begins with a ride that the system could not finish by itself, and ends with a look at
Stripe's ledger.
"""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.management import CommandError

from idempotency.models import FINISHED, IdempotencyKey, StagedJob
from idempotency.review.decisions import ask_foreign_system
from idempotency.review.forms import DECISIONS
from idempotency.testing.clock import let_time_pass
from idempotency.workers.completing import complete_due_keys
from rides import payments
from rides.models import AuditRecord, Ride
from rides.operations import RIDE_CREATED
from rides.payments.client import client
from rides.tests.booking import BOOKED, CHARGING, RIDER, ask, run, the_key
from rides.tests.processes import running_command
from rides.tests.reviewing import PAST_THE_WINDOW, left_with_us, named, review
from rocketrides.environment import BASE_DIR
from sandbox.stripe.control import StandIn
from sandbox.supervisor import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

REFUNDING = "POST /v1/refunds"
UNTIL_IT_IS_DUE = timedelta(hours=2)
UNDOING = f"undo {RIDE_CREATED}"


@pytest.fixture(autouse=True)
def credential(settings) -> None:
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "AUTHENTICATE": "rides.authentication.demo_rider",
    }


@pytest.fixture
def unpaid(stand_in: StandIn) -> IdempotencyKey:
    """On the list: past the window, Stripe knows nothing of it."""
    stand_in.add_fault("reset_before", times=2, path=CHARGING)
    ask()
    let_time_pass(PAST_THE_WINDOW)
    complete_due_keys(10)
    assert the_key().is_under_review
    return the_key()


@pytest.fixture
def paid_twice(stand_in: StandIn) -> IdempotencyKey:
    """On the list: the rider was charged twice."""
    stand_in.add_fault("reset_after", times=2, path=CHARGING)
    ask()
    stand_in.prune_keys()
    payments.charge(Ride.objects.get())
    let_time_pass(PAST_THE_WINDOW)
    complete_due_keys(10)
    assert the_key().is_under_review
    return the_key()


@pytest.fixture
def charge_by_hand(stand_in: StandIn) -> Callable[..., str]:
    """What a person does at Stripe who means to pay for the ride: with other values where told."""

    def charge(**changes: object) -> str:
        ride = Ride.objects.get()
        metadata = {"foreign_key": str(ride.foreign_key)}
        wanted = {
            "amount": ride.amount_cents,
            "currency": "usd",
            "customer": ride.user.stripe_customer_id,
            "confirm": True,
            "off_session": True,
            "metadata": metadata,
            **changes,
        }
        return client().v1.payment_intents.create(wanted).id

    return charge


def refunds() -> list[object]:
    return client().v1.refunds.list({"limit": 100}).data


# Showing.


def test_a_request_is_shown_with_what_stripe_says(paid_twice):
    said = run("review", "show", str(paid_twice.pk))

    assert RIDER in said
    paid = paid_twice.journal[-1]["evidence"]["payment_intents"]
    assert all(said.count(payment) == 2 for payment in paid)
    assert "more than one payment" in ask_foreign_system(paid_twice)


# Running again.


def test_once_the_second_charge_is_refunded_by_hand_the_request_can_go_on(paid_twice, stand_in):
    first, second = stand_in.charges()
    client().v1.refunds.create({"charge": second["id"]})

    assert review("run-again").startswith("finished with 201")

    assert Ride.objects.get().stripe_charge_id == first["id"]
    assert left_with_us(stand_in) == 2000
    assert ask().json() == BOOKED
    assert run("reconcile").endswith("discrepancies=0")


# Adopting.


@pytest.mark.parametrize("by", ["charge", "payment"])
def test_a_charge_that_a_person_found_is_adopted(unpaid, stand_in, charge_by_hand, by):
    payment_id = charge_by_hand()
    [charge] = stand_in.charges()

    said = review("adopt", charge["id"] if by == "charge" else payment_id)

    assert said.startswith("finished with 201")
    assert "adopt_charge" in [entry["event"] for entry in the_key().journal]
    assert ask_foreign_system(the_key()) == (
        f"20.00 USD paid: charge {charge['id']} of payment {payment_id}"
    )
    ride = Ride.objects.get()
    assert (ride.stripe_charge_id, ride.stripe_payment_intent_id) == (charge["id"], payment_id)
    assert StagedJob.objects.count() == 1
    assert ask().headers["Idempotent-Replayed"] == "true"
    assert len(stand_in.charges()) == 1
    assert run("reconcile").endswith("discrepancies=0")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"amount": 2100}, "captured amount is 2100, not 2000"),
        ({"currency": "eur"}, "currency is 'eur', not 'usd'"),
        ({"metadata": {}}, "metadata foreign_key is None"),
        ({"metadata": {"foreign_key": "another"}}, "metadata foreign_key is 'another'"),
    ],
)
def test_a_charge_that_is_not_the_rides_is_not_adopted(unpaid, charge_by_hand, changes, why):
    payment_id = charge_by_hand(**changes)

    with pytest.raises(CommandError, match=why):
        review("adopt", payment_id)

    assert the_key().is_under_review
    assert Ride.objects.get().stripe_charge_id is None


def test_of_two_charges_neither_is_adopted_until_the_other_is_refunded(paid_twice, stand_in):
    first, second = stand_in.charges()
    with pytest.raises(CommandError, match=f"{second['payment_intent']} took money .* too"):
        review("adopt", first["id"])
    assert the_key().is_under_review

    client().v1.refunds.create({"charge": second["id"], "amount": 500})
    with pytest.raises(CommandError, match="too"):
        review("adopt", first["id"])
    client().v1.refunds.create({"charge": second["id"]})

    assert review("adopt", first["id"]).startswith("finished with 201")
    assert left_with_us(stand_in) == 2000
    assert run("reconcile").endswith("discrepancies=0")


def test_a_charge_of_another_customer_is_not_adopted(unpaid, rider, charge_by_hand):
    payment_id = charge_by_hand(customer=rider.stripe_customer_id)

    with pytest.raises(CommandError, match=f"customer is '{rider.stripe_customer_id}'"):
        review("adopt", payment_id)


def test_a_charge_that_was_refunded_is_not_adopted(unpaid, charge_by_hand):
    payment_id = charge_by_hand()
    client().v1.refunds.create({"payment_intent": payment_id, "amount": 1})

    with pytest.raises(CommandError, match="refunded amount is 1, not 0"):
        review("adopt", payment_id)


def test_a_charge_that_failed_is_not_adopted(unpaid, stand_in, charge_by_hand):
    stand_in.add_fault("decline", times=1)
    with pytest.raises(Exception, match="declined"):
        charge_by_hand()
    [charge] = stand_in.charges()

    with pytest.raises(CommandError, match="status is 'failed'"):
        review("adopt", charge["id"])


@pytest.mark.parametrize("reference", ["ch_unknown", "pi_unknown", "../customers", "", "ch_1/x"])
def test_what_is_no_charge_at_stripe_is_not_adopted(unpaid, reference):
    with pytest.raises(CommandError, match=r"has no charge|is not the id|reference: This field"):
        review("adopt", reference)

    assert the_key().is_under_review


def test_a_charge_that_could_not_be_checked_is_not_adopted(unpaid, stand_in, charge_by_hand):
    payment_id = charge_by_hand()
    stand_in.add_fault("rate_limit", path="GET /v1/payment_intents/")

    with pytest.raises(CommandError, match="no definite answer"):
        review("adopt", payment_id)
    assert the_key().is_under_review


# Taking back.


def test_every_charge_of_the_request_is_refunded_and_the_ride_is_cancelled(paid_twice, stand_in):
    assert review("undo").startswith("finished with 409")

    assert left_with_us(stand_in) == 0
    assert len(refunds()) == 2
    assert Ride.objects.get().cancelled_at is not None
    assert StagedJob.objects.count() == 0
    record = AuditRecord.objects.get(action="ride.cancelled")
    assert {payment["outcome"] for payment in record.data["payments"]} == {"refund succeeded"}
    answer = ask()
    assert (answer.status_code, answer.json()["code"]) == (409, "ride_cancelled")
    assert run("reconcile").endswith("discrepancies=0")


def test_a_request_of_which_stripe_knows_nothing_is_cancelled_all_the_same(unpaid, stand_in):
    review("undo")

    assert stand_in.charges() == []
    assert Ride.objects.get().cancelled_at is not None
    record = AuditRecord.objects.get(action="ride.cancelled")
    assert record.data == {"payments": [], "is_complete": False}
    assert ask().json()["error"].endswith("Our payment processor shows no payment for it.")


def test_a_payment_that_was_never_made_is_cancelled_at_stripe(unpaid, charge_by_hand, stand_in):
    payment_id = charge_by_hand(confirm=False, off_session=False)

    review("undo")

    assert client().v1.payment_intents.retrieve(payment_id).status == "canceled"
    assert refunds() == []


def test_what_was_refunded_before_is_not_refunded_again(paid_twice, stand_in):
    for charge in stand_in.charges():
        client().v1.refunds.create({"charge": charge["id"]})

    review("undo")

    assert len(refunds()) == 2


def test_what_was_refunded_in_part_is_refunded_in_full(paid_twice, stand_in):
    client().v1.refunds.create({"charge": stand_in.charges()[0]["id"], "amount": 500})

    review("undo")

    assert left_with_us(stand_in) == 0


@pytest.mark.parametrize("fault", ["reset_before", "reset_after", "rate_limit", "error_after"])
def test_a_refund_without_an_answer_is_sent_again_until_it_is_made_once(
    paid_twice, stand_in, fault
):
    stand_in.add_fault(fault, times=2, path=REFUNDING)
    with pytest.raises(CommandError):
        review("undo")
    assert (the_key().recovery_point, the_key().is_under_review) == (UNDOING, False)

    stand_in.clear_faults()
    let_time_pass(UNTIL_IT_IS_DUE)
    assert complete_due_keys(10).counts["succeeded"] == 1

    assert left_with_us(stand_in) == 0
    assert len(refunds()) == 2
    assert Ride.objects.get().cancelled_at is not None


def test_a_retry_of_the_client_does_not_book_what_is_being_cancelled(paid_twice, stand_in):
    stand_in.add_fault("reset_before", times=2, path=REFUNDING)
    with pytest.raises(CommandError):
        review("undo")

    assert ask().json()["code"] == "ride_cancelled"
    assert left_with_us(stand_in) == 0


def test_a_refund_that_no_key_remembers_is_not_made_again(paid_twice, stand_in):
    stand_in.add_fault("reset_after", times=2, path=REFUNDING)
    with pytest.raises(CommandError):
        review("undo")
    stand_in.prune_keys()
    let_time_pass(UNTIL_IT_IS_DUE)

    complete_due_keys(10)

    assert len(refunds()) == 2
    assert the_key().recovery_point == FINISHED


def test_a_decision_whose_process_is_killed_after_the_refund_is_carried_out_by_the_completer(
    paid_twice, stand_in, tmp_path
):
    stand_in.add_fault("stall", times=1, seconds=30, path=REFUNDING)
    arguments = ("review", "undo", named(paid_twice), "--reason", "Ticket 12")
    with running_command(*arguments, stand_in=stand_in, folder=tmp_path) as command:
        wait_until(lambda: refunds())
        command.kill()
    assert (the_key().recovery_point, the_key().is_under_review) == (UNDOING, False)
    assert complete_due_keys(10).total == 0
    let_time_pass(UNTIL_IT_IS_DUE)

    assert complete_due_keys(10).counts["succeeded"] == 1

    assert left_with_us(stand_in) == 0
    assert len(refunds()) == 2
    assert the_key().response_code == 409


# Closing.


def test_what_was_closed_keeps_its_money_and_is_on_the_list_of_the_reconciliation(
    paid_twice, stand_in
):
    review("close", "--message", "Please book again.")

    assert left_with_us(stand_in) == 4000
    with pytest.raises(CommandError, match="2 off"):
        run("reconcile")


# Every decision.


def test_every_decision_is_on_the_rides_record(unpaid):
    with pytest.raises(CommandError):
        review("run-again")
    review("undo", "--reviewer", "ann")

    records = AuditRecord.objects.filter(action__startswith="review.").order_by("pk")
    assert [record.action for record in records] == ["review.run_again", "review.undo"]
    assert records[1].data == {
        "reviewer": "ann",
        "reason": "Ticket 12",
        "idempotency_key_id": unpaid.pk,
    }
    assert (records[1].resource_type, records[1].resource_id) == ("ride", Ride.objects.get().pk)


def test_a_decision_on_a_request_without_a_ride_is_recorded_too(stand_in):
    stand_in.add_fault("reset_before", times=2, path=CHARGING)
    ask()
    Ride.objects.all().delete()
    IdempotencyKey.objects.update(recovery_point="started", needs_review_at="2026-01-01T00:00Z")

    run(
        *("review", "close", named(the_key()), "--reason", "Ticket 12"),
        *("--message", "Please book again."),
    )

    record = AuditRecord.objects.get(action="review.close")
    assert (record.resource_type, record.resource_id) == ("idempotency_key", the_key().pk)


def test_the_runbook_has_every_decision():
    runbook = (BASE_DIR / "docs" / "operating.md").read_text()

    assert all(f"`review {slug} REQUEST" in runbook for slug in DECISIONS)
