"""The four incidents of docs/operating.md: made for real, found from the overview in at most three
clicks, and repaired by clicks only.
"""

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from idempotency.models import Heartbeat, JobDelivery
from idempotency.testing.clock import earlier, let_deliveries_age
from rides.models import AuditRecord, Ride
from rides.payments import charging
from rides.payments.client import client
from rides.tests.booking import book, fail_midway, lock, the_key
from rides.tests.browser.ageing import let_time_pass_for_all
from rides.tests.browser.traffic import an_hour_of_traffic
from rides.tests.reviewing import PAST_THE_WINDOW, left_with_us
from sandbox.supervisor import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

MOST_CLICKS = 3
REASON = "Ticket 12"


@pytest.mark.short
def test_after_stripe_was_down_all_that_is_unknown_is_run_now(
    console, api, stand_in, steady_workers, start_worker, picture
):
    start_worker("completer")
    an_hour_of_traffic(api, stand_in)
    before = len(stand_in.charges("succeeded"))
    stand_in.add_fault("reset_before")
    keys = [f"sent-while-stripe-was-down-{number}" for number in range(3)]
    for key in keys:
        assert book(api.url, key).status_code == 503
    stand_in.clear_faults()
    let_time_pass_for_all(timedelta(minutes=1))

    console.wait_for("Unknown outcomes", 3)
    without_an_answer = console.chart("Attempts without an answer").locator(".legend")
    wait_until(
        lambda: console.open_overview() or "outcome_unknown" in without_an_answer.inner_text()
    )
    picture(console.page, "stripe-was-down")
    console.click_tile("Unknown outcomes")
    expect(console.rows()).to_have_count(3)
    console.click_link("Run now")
    console.page.get_by_text("Nothing is done yet.").wait_for()
    assert console.clicks <= MOST_CLICKS
    console.page.get_by_label("Reason").fill("Stripe is back; ticket 12")
    picture(console.page, "stripe-was-down-run-now")
    console.act("Run now", "Stripe is back; ticket 12")
    assert console.messages() == "Run now: 3 done, 0 refused."

    console.wait_for("Unknown outcomes", 0)
    assert len(stand_in.charges("succeeded")) == before + 3
    assert {book(api.url, key).status_code for key in keys} == {201}
    console.open(f"/admin/idempotency/idempotencykey/{the_key(keys[0]).pk}/change/")
    picture(console.page, "stripe-was-down-afterwards")


def test_jobs_that_a_dead_worker_left_are_put_back(
    console, api, steady_workers, start_worker, picture
):
    start_worker("completer")
    book(api.url, "booked-while-the-worker-lived")
    wait_until(lambda: receipts() == 1)
    wait_until(lambda: Heartbeat.objects.filter(worker="worker").exists())
    steady_workers["worker"].kill()
    Heartbeat.objects.filter(worker="worker").update(
        seen_at=earlier("seen_at", timedelta(hours=18))
    )
    book(api.url, "booked-while-the-worker-was-dead")
    wait_until(JobDelivery.objects.exists)
    JobDelivery.objects.update(deliveries=10)
    let_deliveries_age(timedelta(hours=18))

    console.wait_for("Jobs set aside", 1)
    assert "dead, last seen 18 h" in console.worker("worker")
    expect(console.page.locator(".console-alarms")).to_contain_text("worker: dead")
    picture(console.page, "worker-dead")
    console.click_tile("Jobs set aside")
    expect(console.rows()).to_contain_text("rides.tasks.send_ride_receipt")
    console.click_link("Put back")
    assert console.clicks <= MOST_CLICKS
    console.page.get_by_text("Nothing is done yet.").wait_for()
    console.page.get_by_label("Reason").fill("The worker is started again; ticket 12")
    picture(console.page, "worker-dead-put-back")
    console.act("Put back", "The worker is started again; ticket 12")
    assert console.messages() == "Put back: 1 done, 0 refused."
    start_worker("worker")  # as its supervisor does

    console.wait_for("Jobs owed", 0)
    assert console.count("Jobs set aside") == 0
    assert receipts() == 2
    wait_until(lambda: console.open_overview() or "1 alive" in console.worker("worker"))


def test_an_outcome_that_is_unknown_past_the_window_is_asked_about_and_undone(
    console, api, stand_in, steady_workers, start_worker, picture
):
    key = "sent-and-no-answer-came-back"
    stand_in.add_fault("reset_before")
    assert book(api.url, key).status_code == 503
    stand_in.clear_faults()
    let_time_pass_for_all(PAST_THE_WINDOW)
    start_worker("completer")

    console.wait_for("Need review", 1)
    expect(console.page.locator(".console-alarms")).to_contain_text("Need review: 1")
    console.click_tile("Need review")
    console.click(console.rows().get_by_role("link").first)
    console.page.locator(".key-picture").wait_for()
    picture(console.page, "outcome-unknown")
    console.click_link("Ask the foreign system")
    expect(console.page.get_by_text("It has no record of the request.")).to_be_visible()
    assert console.clicks <= MOST_CLICKS
    console.click_link("Cancel and undo")
    console.page.get_by_label("Reason").fill("Stripe knows nothing of it; ticket 12")
    picture(console.page, "outcome-unknown-undo")
    console.act("Cancel and undo", "Stripe knows nothing of it; ticket 12")
    console.page.locator(".messagelist").wait_for()

    console.wait_for("Need review", 0)
    again = book(api.url, key)
    assert (again.status_code, again.json()["code"]) == (409, "ride_cancelled")
    assert left_with_us(stand_in) == 0


def test_a_suspected_double_charge_is_found_by_the_charge_and_was_none(
    console, api, stand_in, riders, picture
):
    key = "its-first-answer-was-lost"
    stand_in.add_fault("reset_after", times=10, path="POST /v1/payment_intents")
    assert book(api.url, key).status_code == 503
    stand_in.clear_faults()
    let_time_pass_for_all(timedelta(minutes=3))
    assert book(api.url, key).status_code == 201
    [charge] = stand_in.charges("succeeded")

    console.open_overview()
    console.page.get_by_label("Find a request").fill(charge["id"])
    console.click(console.page.get_by_role("button", name="Search"))
    expect(console.rows()).to_have_count(1)
    picture(console.page, "double-charge-search")
    console.click(console.rows().get_by_role("link").first)
    assert console.clicks <= MOST_CLICKS

    timeline = console.page.locator(".key-timeline")
    expect(timeline).to_contain_text("a replay")
    expect(console.page.locator(".key-traces li", has_text="ride:")).to_have_count(1)
    payment = console.page.locator(".key-traces").get_by_role("link", name="pi_")
    assert Ride.objects.get().stripe_payment_intent_id in payment.get_attribute("href")
    picture(console.page, "double-charge")


def test_two_charges_for_one_request_are_both_taken_back(
    console, api, stand_in, steady_workers, start_worker, picture
):
    stand_in.add_fault("reset_after", times=10, path="POST /v1/payment_intents")
    assert book(api.url, "charged-and-charged-again-by-hand").status_code == 503
    stand_in.clear_faults()
    by_hand = {"idempotency_key": "by hand"}
    client().v1.payment_intents.create(charging.wanted(Ride.objects.get()), by_hand)
    assert left_with_us(stand_in) == 4000
    let_time_pass_for_all(PAST_THE_WINDOW)
    start_worker("completer")

    console.wait_for("Need review", 1)
    console.click_tile("Need review")
    expect(console.rows()).to_contain_text("more than one payment")
    console.click(console.rows().get_by_role("link").first)
    console.page.locator(".key-picture").wait_for()
    expect(console.page.locator(".key-timeline")).to_contain_text("payment_intents")
    picture(console.page, "two-charges")
    console.click_link("Cancel and undo")
    assert console.clicks <= MOST_CLICKS
    console.act("Cancel and undo", REASON)
    console.page.locator(".messagelist").wait_for()

    console.wait_for("Need review", 0)
    assert left_with_us(stand_in) == 0


def test_the_lease_of_a_process_that_is_gone_is_ended(console, api, stand_in, start_worker, riders):
    key = "in-hand-when-its-process-was-killed"
    fail_midway(api.url, key)
    let_time_pass_for_all(timedelta(minutes=6))
    lock(the_key(key), seconds_ago=5)
    start_worker("completer")

    console.open_overview()
    console.click_tile("Unfinished requests")
    expect(console.rows()).to_contain_text("in progress")
    console.click_link("End the lease")
    assert console.clicks <= MOST_CLICKS
    console.act("End the lease", REASON)
    assert console.messages() == "End the lease: 1 done, 0 refused."

    console.wait_for("Unfinished requests", 0)
    assert len(stand_in.charges("succeeded")) == 1


def receipts() -> int:
    return AuditRecord.objects.filter(action="receipt.sent").count()
