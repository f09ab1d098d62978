"""A payment that is under way: 3-D Secure, bank debits, and what a refusal leaves open."""

import re
from datetime import timedelta
from typing import get_args

import pytest
import requests
import stripe
from django.core.management import CommandError
from django.db import transaction

from idempotency.exceptions import Indeterminate
from idempotency.foreign_keys import question_key
from idempotency.models import StagedJob
from idempotency.testing.clock import let_time_pass
from idempotency.workers.completing import complete_due_keys
from rides import payments
from rides.models import AuditRecord, Ride
from rides.payments import statuses
from rides.payments.client import client
from rides.tasks import close_payment
from rides.tests.booking import BOOKED, CHARGING, RIDER_WITH_BAD_CARD, ask, the_key
from rides.tests.reviewing import left_with_us, review
from sandbox.stripe.control import ControlError

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

RIDER_WITH_3DS = "user-3ds@example.com"
LOOK = statuses.PAYMENTS["requires_action"].ask_again_in
SLOW_LOOK = statuses.PAYMENTS["processing"].ask_again_in
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def credential(settings) -> None:
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "AUTHENTICATE": "rides.authentication.demo_rider",
    }


@pytest.fixture
def asked(stand_in, riders):
    """A booking whose rider is asked by their bank; what the client was told."""
    answer = ask(rider=RIDER_WITH_3DS)
    assert answer.status_code == 202
    return answer.json()


@pytest.fixture
def debited(stand_in, riders):
    """A booking whose payment takes days."""
    stand_in.add_fault("processing", times=1)
    answer = ask()
    assert answer.status_code == 202
    return answer.json()


def payment_id():
    return the_key().foreign_reference


def told(rider=RIDER_WITH_3DS):
    answer = ask(rider=rider)
    return answer.status_code, answer.json()


# 3-D Secure.


def test_the_client_is_told_what_its_rider_is_to_do(asked, stand_in):
    assert asked["status"] == "requires_action"
    assert asked["client_secret"].startswith(payment_id())
    assert asked["next_action"]["type"] == "redirect_to_url"
    assert asked["next_action"]["url"].endswith(payment_id())
    assert stand_in.charges() == []
    assert told() == (202, asked)


def test_a_rider_who_confirms_at_the_banks_page_flies(asked, stand_in):
    page = asked["next_action"]["url"]
    assert "20.00 USD" in requests.get(page, timeout=10).text

    answer = requests.post(page, {"decision": "confirm"}, timeout=10, allow_redirects=False)
    let_time_pass(LOOK)

    assert (answer.status_code, told()) == (303, (201, BOOKED))
    assert f"payment_intent={payment_key(asked)}" in answer.headers["Location"]
    assert left_with_us(stand_in) == 2000
    assert ask(rider=RIDER_WITH_3DS).headers["Idempotent-Replayed"] == "true"


def payment_key(asked):
    return re.match("pi_[a-z0-9]+", asked["client_secret"])[0]


def test_a_rider_who_refuses_there_is_refused_and_not_charged(asked, stand_in):
    page = asked["next_action"]["url"]
    requests.post(page, {"decision": "refuse"}, timeout=10, allow_redirects=False)
    let_time_pass(LOOK)

    status, body = told()

    assert (status, body["code"]) == (402, "card_declined")
    assert left_with_us(stand_in) == 0


@pytest.mark.usefixtures("asked")
def test_a_rider_who_confirms_half_an_hour_later_still_flies(stand_in):
    for _ in range(30):
        let_time_pass(timedelta(minutes=1))
        complete_due_keys(10)
    stand_in.settle(payment_id(), succeeds=True)
    let_time_pass(LOOK)

    complete_due_keys(10)

    assert told() == (201, BOOKED)
    assert the_key().needs_review_at is None


@pytest.mark.usefixtures("asked")
def test_a_rider_who_never_confirms_is_not_charged(stand_in):
    payment = payment_id()
    let_time_pass(HOUR)

    complete_due_keys(10)

    status, body = told()
    assert (status, body["code"]) == (402, "card_declined")
    assert client().v1.payment_intents.retrieve(payment).status == "canceled"
    with pytest.raises(ControlError):
        stand_in.settle(payment, succeeds=True)
    assert left_with_us(stand_in) == StagedJob.objects.count() == 0


@pytest.mark.usefixtures("asked")
def test_a_rider_who_confirms_at_the_last_moment_flies(stand_in):
    stand_in.settle(payment_id(), succeeds=True)
    let_time_pass(HOUR)

    complete_due_keys(10)

    assert told() == (201, BOOKED)


@pytest.mark.usefixtures("asked")
def test_nothing_is_sent_again_for_what_is_under_way(stand_in):
    let_time_pass(LOOK)
    told()
    let_time_pass(LOOK)
    complete_due_keys(10)

    assert stand_in.calls()["calls"][CHARGING] == 1


def test_a_request_whose_answer_was_lost_finds_what_is_under_way(stand_in):
    stand_in.add_fault("reset_after", times=2, path=CHARGING)
    assert ask(rider=RIDER_WITH_3DS).status_code == 503

    status, body = told()

    assert (status, body["status"]) == (202, "requires_action")
    assert stand_in.payment_intents()["count"] == 1


def test_past_the_window_it_is_found_by_looking(stand_in):
    stand_in.add_fault("reset_after", times=2, path=CHARGING)
    ask(rider=RIDER_WITH_3DS)
    let_time_pass(timedelta(hours=21))

    assert told()[0] == 202


# Bank debits.


@pytest.mark.usefixtures("debited")
def test_a_payment_that_succeeds_a_second_later_is_asked_about_itself(stand_in):
    stand_in.settle(payment_id(), succeeds=True)
    let_time_pass(SLOW_LOOK)

    assert ask().json() == BOOKED
    assert stand_in.calls()["calls"][CHARGING] == 1


@pytest.mark.usefixtures("debited")
def test_a_payment_that_fails_days_later_is_a_refusal(stand_in):
    let_time_pass(timedelta(days=3))
    complete_due_keys(10)
    assert ask().status_code == 202
    stand_in.settle(payment_id(), succeeds=False)
    let_time_pass(SLOW_LOOK)

    assert ask().status_code == 402
    assert left_with_us(stand_in) == 0


@pytest.mark.usefixtures("debited")
def test_what_cannot_be_cancelled_stays_under_way_and_is_no_persons_work(stand_in):
    let_time_pass(timedelta(days=15))

    complete_due_keys(10)

    assert ask().status_code == 202
    assert the_key().needs_review_at is None


# What a refusal leaves open.


def arguments_of_the_job():
    return StagedJob.objects.get(job_name=close_payment.module_path).job_args["kwargs"]


def run_the_job():
    payment = arguments_of_the_job()["payment_id"]
    return payment, payments.close_payment(Ride.objects.get(), payment)


def test_a_decline_has_its_payment_closed(stand_in):
    assert ask(rider=RIDER_WITH_BAD_CARD).status_code == 402

    payment, refund = run_the_job()

    assert refund is None
    assert client().v1.payment_intents.retrieve(payment).status == "canceled"
    assert run_the_job() == (payment, None)


def test_one_that_was_paid_in_the_meantime_is_given_back_once(stand_in):
    ask(rider=RIDER_WITH_BAD_CARD)
    client().v1.payment_intents.confirm(
        arguments_of_the_job()["payment_id"],
        {"payment_method": "pm_card_visa", "return_url": "http://127.0.0.1:1/"},
    )
    assert left_with_us(stand_in) == 2000

    first, again = run_the_job(), run_the_job()

    assert first == again
    assert left_with_us(stand_in) == 0


@pytest.mark.parametrize("fault", ["error_before", "error_after"])
def test_an_error_that_stripe_saves_of_the_closing_does_not_last(stand_in, fault):
    ask(rider=RIDER_WITH_BAD_CARD)
    stand_in.add_fault(fault, times=1, path="POST /v1/payment_intents/")
    with pytest.raises(Indeterminate):
        run_the_job()

    payment, _ = run_the_job()

    assert client().v1.payment_intents.retrieve(payment).status == "canceled"


@pytest.mark.parametrize("fault", ["error_before", "error_after"])
def test_an_error_that_stripe_saves_of_the_refund_does_not_last(stand_in, fault):
    ask(rider=RIDER_WITH_BAD_CARD)
    client().v1.payment_intents.confirm(
        arguments_of_the_job()["payment_id"],
        {"payment_method": "pm_card_visa", "return_url": "http://127.0.0.1:1/"},
    )
    stand_in.add_fault(fault, times=1, path="POST /v1/refunds")
    with pytest.raises(Indeterminate):
        run_the_job()

    run_the_job()

    assert left_with_us(stand_in) == 0
    assert len(client().v1.refunds.list().data) == 1


def test_the_job_leaves_a_record_of_what_it_gave_back(stand_in):
    ask(rider=RIDER_WITH_BAD_CARD)
    arguments = arguments_of_the_job()
    client().v1.payment_intents.confirm(
        arguments["payment_id"],
        {"payment_method": "pm_card_visa", "return_url": "http://127.0.0.1:1/"},
    )

    close_payment.call(**arguments, settling=transaction.atomic)

    record = AuditRecord.objects.get(action=AuditRecord.Action.CHARGE_REFUNDED)
    assert record.data["status"] == "succeeded"


# A refusal that Stripe saved.


@pytest.fixture
def without_a_card(stand_in, rider_with):
    """A booking that Stripe refuses with 400, because the rider has no card; then there is one."""
    customer = client().v1.customers.create({"email": "cardless@example.com"})
    rider = rider_with("tok_visa")
    type(rider).objects.filter(pk=rider.pk).update(stripe_customer_id=customer.id)
    assert ask(rider=rider.email).json()["code"] == "needs_review"
    client().v1.customers.update(customer.id, {"source": "tok_visa"})
    return rider


def test_asked_again_by_a_person_it_is_a_new_question(without_a_card, stand_in):
    assert review("run-again").startswith("finished with 201")

    assert the_key().foreign_question == 1
    assert left_with_us(stand_in) == 2000
    assert ask(rider=without_a_card.email).json() == BOOKED


def test_a_client_that_asks_again_gets_no_new_question(without_a_card, stand_in):
    assert ask(rider=without_a_card.email).json()["code"] == "needs_review"
    assert the_key().foreign_question == 0
    assert stand_in.charges() == []


def test_the_new_question_is_one_however_often_its_answer_is_lost(without_a_card, stand_in):
    key = str(question_key(Ride.objects.get().foreign_key, 1))
    stand_in.add_fault("reset_after", times=2, idempotency_key=key)
    with pytest.raises(CommandError, match="no definite answer"):
        review("run-again")

    assert ask(rider=without_a_card.email).json() == BOOKED
    assert len(stand_in.charges()) == 1
    assert the_key().foreign_question == 1


def test_what_a_frozen_process_sends_under_the_old_key_takes_no_money(without_a_card, stand_in):
    stand_in.prune_keys()
    review("run-again")

    payments.charge(Ride.objects.get())

    assert left_with_us(stand_in) == 2000
    assert len(stand_in.charges()) == 1


# The table.


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        (stripe.PaymentIntent, statuses.PAYMENTS),
        (stripe.Charge, statuses.CHARGES),
        (stripe.Dispute, statuses.DISPUTES),
    ],
)
def test_every_status_that_stripe_documents_is_in_the_table(kind, table):
    literal, _ = get_args(kind.__annotations__["status"])
    assert set(get_args(literal)) == set(table)


def test_every_status_of_a_refund_is_in_the_table():
    """Its type is any text; the reference names them (Stripe's API, "The Refund object")."""
    documented = {"pending", "requires_action", "succeeded", "failed", "canceled"}
    assert set(statuses.REFUNDS) == documented
