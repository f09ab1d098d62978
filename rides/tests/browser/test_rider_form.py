"""The rider's form in a browser: pressed twice, gone back to, reloaded, and its answer lost."""

import pytest
from playwright.sync_api import Page, expect

from rides.models import Ride
from rides.tests.booking import CHARGING
from rides.tests.browser.dropping import dropping_proxy

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

BOOKED = "Your pilot is on their way!"
SEND_AGAIN = "Send the same request again"


@pytest.fixture
def form(page: Page, api) -> Page:
    page.goto(api.url)
    return page


def book_button(page: Page):
    return page.get_by_role("button", name="Book for $20.00")


def rides_and_charges(stand_in) -> tuple[int, int]:
    return Ride.objects.count(), len(stand_in.charges("succeeded"))


@pytest.mark.short
def test_a_double_click_books_one_ride_and_charges_once(form, stand_in):
    stand_in.add_fault("latency", seconds=0.5, path=CHARGING)
    book_button(form).dblclick()
    if form.get_by_role("button", name=SEND_AGAIN).is_visible():
        stand_in.clear_faults()
        form.wait_for_timeout(1000)
        form.get_by_role("button", name=SEND_AGAIN).click()

    expect(form.get_by_text(BOOKED)).to_be_visible()
    assert rides_and_charges(stand_in) == (1, 1)


def test_going_back_and_booking_again_books_nothing_more(form, stand_in):
    book_button(form).click()
    expect(form.get_by_text(BOOKED)).to_be_visible()
    form.go_back()
    book_button(form).click()

    expect(form.get_by_text("It was booked once")).to_be_visible()
    assert rides_and_charges(stand_in) == (1, 1)


def test_reloading_the_form_keeps_its_key(form):
    key = form.locator("[name=idempotency_key]")
    before = key.input_value()
    form.reload()

    assert key.input_value() == before


def test_reloading_the_answer_shows_the_same_answer(form, stand_in):
    book_button(form).click()
    expect(form.get_by_text(BOOKED)).to_be_visible()
    form.reload()

    expect(form.get_by_text(BOOKED)).to_be_visible()
    expect(form.get_by_text("It was booked once")).to_be_visible()
    assert rides_and_charges(stand_in) == (1, 1)


def test_an_answer_that_is_lost_on_the_way_is_there_when_the_page_is_reloaded(
    open_page, api, stand_in
):
    page = open_page()
    with dropping_proxy(api.port) as proxy:
        page.goto(proxy.url)
        proxy.is_dropping = True
        with page.expect_event("requestfailed"):
            book_button(page).click()
        page.wait_for_url("chrome-error://**")
        assert rides_and_charges(stand_in) == (1, 1)

        proxy.is_dropping = False
        page.reload()
        expect(page.get_by_text(BOOKED)).to_be_visible()

    assert proxy.dropped >= 1
    assert rides_and_charges(stand_in) == (1, 1)


def test_another_ride_is_another_form_with_a_key_of_its_own(form, stand_in):
    book_button(form).click()
    form.get_by_role("link", name="Book another ride").click()
    book_button(form).click()

    expect(form.get_by_text(BOOKED)).to_be_visible()
    assert rides_and_charges(stand_in) == (2, 2)


def test_a_ride_is_booked_by_the_keyboard_alone(form, stand_in):
    form.keyboard.press("Tab")
    while form.evaluate("document.activeElement.tagName") != "BUTTON":
        form.keyboard.press("Tab")
    form.keyboard.press("Enter")

    expect(form.get_by_text(BOOKED)).to_be_visible()
    assert rides_and_charges(stand_in) == (1, 1)
