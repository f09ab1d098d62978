"""The console's overview, lists and a request's page, as an operator reads them in a browser."""

import uuid
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from playwright.sync_api import expect

from idempotency.models import JobDelivery, Rollup, StagedJob
from rides.models import Ride, User
from rides.tests.booking import RIDER, RIDER_WITH_BAD_CARD, book, fail_midway, the_key
from rides.tests.browser.ageing import let_time_pass_for_all
from rides.tests.browser.conftest import NARROW, sign_in
from rides.tests.browser.console import ADMIN, OVERVIEW, REQUESTS
from rides.tests.browser.traffic import an_hour_of_traffic
from rides.tests.reviewing import put_on_the_list
from sandbox.supervisor import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

CHARTS = ".console-charts figure"


@pytest.mark.short
def test_signing_in_leads_to_the_page_that_was_asked_for(page, api, operator):
    operator.set_password("a password of theirs")
    operator.save()
    page.goto(f"{api.url}{OVERVIEW}")
    page.get_by_label("Email").fill(operator.email)
    page.get_by_label("Password").fill("a password of theirs")
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_a_wrong_password_is_said_and_leads_nowhere(page, api, operator):
    page.goto(f"{api.url}{OVERVIEW}")
    page.get_by_label("Email").fill(operator.email)
    page.get_by_label("Password").fill("another")
    page.keyboard.press("Enter")

    expect(page.get_by_text("Please enter the correct")).to_be_visible()


def test_without_traffic_the_overview_says_so(console):
    def is_said() -> bool:
        Rollup.objects.all().delete()  # what the API had still to tell of another test
        console.open_overview()
        return console.page.get_by_text("No traffic yet").is_visible()

    wait_until(is_said)
    expect(console.page.locator(".legend .none").first).to_have_text("nothing")


@pytest.mark.short
def test_the_overview_shows_the_traffic_of_the_simulator(
    console, steady_workers, start_worker, api, stand_in, picture
):
    an_hour_of_traffic(api, stand_in, failures="0.2")
    let_time_pass_for_all(timedelta(minutes=6))
    start_worker("completer")
    console.wait_for("Unfinished requests", 0)

    def is_shown() -> bool:
        console.open_overview()
        return console.page.locator(".legend li", has_text="done").count() > 0

    wait_until(is_shown)
    legends = console.page.locator(".console-charts").inner_text()
    for name in ("done", "replayed", "failed", "half", "charge_rider", "2xx"):
        assert name in legends
    for name in ("api", "completer", "enqueuer", "reaper", "worker"):
        wait_until(lambda name=name: console.open_overview() or "alive" in console.worker(name))
    expect(console.page.locator(".console-alarms")).to_have_count(0)
    picture(console.page, "overview")
    console.page.emulate_media(color_scheme="dark")
    picture(console.page, "overview-dark")
    console.page.emulate_media(color_scheme="light")
    console.page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
    picture(console.page, "overview-narrow")


def test_a_line_of_a_chart_is_a_line_and_not_a_surface(console, api):
    book(api.url)
    line = console.page.locator("path.line").first

    def is_drawn() -> bool:
        console.open_overview()
        return line.count() > 0

    wait_until(is_drawn)
    assert line.evaluate("each => getComputedStyle(each).fill") == "none"


def test_the_overview_refreshes_itself_until_it_is_paused(console, api):
    page = console.page
    page.clock.install()
    console.open_overview()
    assert console.count("Unfinished requests") == 0
    fail_midway(api.url)

    page.get_by_role("button", name="Pause").click()
    page.mouse.move(1, 1)
    page.clock.run_for(30_000)
    assert console.count("Unfinished requests") == 0

    page.get_by_role("button", name="Go on").click()
    page.mouse.move(1, 1)
    page.clock.run_for(11_000)
    expect(console.tile("Unfinished requests").locator("strong")).to_have_text("1")


def test_what_the_pointer_is_on_stays_until_it_has_gone(console, api):
    page = console.page
    page.clock.install()
    console.open_overview()
    console.tile("Unfinished requests").hover()
    fail_midway(api.url)
    page.clock.run_for(30_000)
    assert console.count("Unfinished requests") == 0

    page.mouse.move(1, 1)
    page.clock.run_for(11_000)
    expect(console.tile("Unfinished requests").locator("strong")).to_have_text("1")


def test_a_moment_of_a_chart_says_its_numbers_under_the_pointer(console, api):
    assert book(api.url).status_code == 201

    def is_counted() -> bool:
        console.open_overview()
        return console.page.locator(".legend li", has_text="done").count() > 0

    wait_until(is_counted)
    moment = console.page.locator(CHARTS).first.locator(".moment", has_text="done: 1").last
    moment.hover()

    assert "UTC" in moment.locator("title").text_content()
    assert moment.evaluate("each => getComputedStyle(each).fillOpacity") == "0.2"


@pytest.mark.parametrize("lasts", ["day", "week"])
def test_a_longer_time_is_a_click_away(console, lasts):
    console.open_overview()
    console.page.get_by_role("link", name=f"last {lasts}").click()

    expect(console.page.get_by_role("heading", name=f"Last {lasts}")).to_be_visible()


def a_row_of_each_kind(api) -> None:
    """Make one for each tile."""
    fail_midway(api.url, "unfinished-and-that-is-all")
    fail_midway(api.url, "waits-for-a-persons-decision")
    put_on_the_list("waits-for-a-persons-decision")
    book(api.url, "the-bank-asks-its-customer", rider="user-3ds@example.com")
    job = {"job_name": "rides.tasks.send_ride_receipt", "job_args": {"args": [], "kwargs": {}}}
    StagedJob.objects.create(job_id=uuid.uuid4(), **job)
    JobDelivery.objects.create(job_id=uuid.uuid4(), deliveries=1, **job)
    JobDelivery.objects.create(job_id=uuid.uuid4(), deliveries=10, set_aside_at=Now(), **job)


TILES = {
    "Unfinished requests": 2,
    "Unknown outcomes": 1,
    "Pending elsewhere": 1,
    "Need review": 1,
    "Jobs staged": 1,
    "Jobs owed": 1,
    "Jobs set aside": 1,
}


def test_each_tile_leads_to_the_rows_that_it_counts(console, api):
    a_row_of_each_kind(api)
    for title, count in TILES.items():
        console.open_overview()
        assert console.count(title) == count, title
        console.tile(title).get_by_role("link").click()
        expect(console.rows()).to_have_count(count)


def test_a_request_is_found_by_whatever_belongs_to_it(console, api):
    assert book(api.url, "the-one-that-is-looked-for").status_code == 201
    assert book(api.url, "another-that-was-declined", rider=RIDER_WITH_BAD_CARD).status_code == 402
    ride = Ride.objects.get(stripe_charge_id__isnull=False)
    key = ride.idempotency_key
    terms = [
        *("the-one-that", str(key.pk), RIDER, str(ride.public_id), str(ride.foreign_key)),
        *(ride.stripe_charge_id, ride.stripe_payment_intent_id),
        *(ride.stripe_charge_id[:12], key.journal[-1]["jobs"][0]),
    ]
    for term in terms:
        console.open(REQUESTS)
        console.search(str(term))
        expect(console.rows(), f"by {term}").to_have_count(1)
        expect(console.rows()).to_contain_text("the-one-that-is")

    console.search("nothing-of-the-kind")
    expect(console.page.get_by_text("0 idempotency keys")).to_be_visible()


def test_filters_a_saved_view_and_a_search_go_together(console, api):
    fail_midway(api.url, "first-of-two-unfinished")
    fail_midway(api.url, "second-of-two-unfinished")
    book(api.url, "first-of-two-finished")
    page = console.page
    console.open(REQUESTS)
    expect(console.rows()).to_have_count(3)

    filters = page.locator("#changelist-filter")
    filters.get_by_role("link", name="Unfinished", exact=True).click()
    expect(console.rows()).to_have_count(2)
    filters.get_by_role("link", name="ride_created", exact=True).click()
    expect(console.rows()).to_have_count(2)
    console.search("first")
    expect(console.rows()).to_have_count(1)
    filters.get_by_role("link", name="Clear all filters").click()
    expect(console.rows()).to_have_count(2)


def test_a_long_pause_between_attempts_is_drawn_as_a_break(console, api):
    key = "fails-first-and-is-tried-again"
    fail_midway(api.url, key)
    let_time_pass_for_all(timedelta(minutes=12))
    assert book(api.url, key).status_code == 201
    console.open(f"{REQUESTS}{the_key(key).pk}/change/")

    drawing = console.page.locator(".key-picture svg")
    expect(drawing.locator("text.lane")).to_have_count(2)
    expect(drawing.locator("text.break")).to_have_text(["12 min 0 s"])
    assert drawing.locator("g.call").count() == 1
    timeline = console.page.locator(".key-timeline")
    expect(timeline.get_by_text("+12 min 0 s")).to_be_visible()


@pytest.mark.short
def test_an_act_on_all_that_is_shown_says_first_what_it_would_do(console, api):
    for number in range(3):
        fail_midway(api.url, f"unfinished-number-{number}-of-three")
    page = console.page
    console.open(f"{REQUESTS}?saved=unfinished")
    page.get_by_role("link", name="Run now").click()
    expect(page.get_by_text("Nothing is done yet.")).to_be_visible()
    expect(page.locator(".act-named li")).to_have_count(3)

    page.get_by_role("button", name="Run now").click()
    expect(page).to_have_url(f"{api.url}{REQUESTS}act/run-now/?saved=unfinished")  # no reason yet

    console.act("Run now", "Ticket 12")
    assert console.messages() == "Run now: 3 done, 0 refused."


def test_an_act_on_the_rows_that_are_ticked_leaves_the_others(console, api):
    for number in range(2):
        fail_midway(api.url, f"unfinished-number-{number}-of-two")
    page = console.page
    console.open(f"{REQUESTS}?saved=unfinished")
    console.rows().first.get_by_role("checkbox").check()
    page.get_by_role("combobox", name="Action").select_option("Run now")
    page.get_by_role("button", name="Go", exact=True).click()
    expect(page.locator(".act-named li")).to_have_count(1)
    console.act("Run now", "Ticket 12")

    assert console.messages() == "Run now: 1 done, 0 refused."


@pytest.mark.short
def test_a_viewer_sees_no_acts_and_no_personal_data(page, api, viewer, riders):
    book(api.url)
    fail_midway(api.url, "unfinished-and-that-is-all")
    viewers = sign_in(page, api.url, viewer)
    viewers.open(REQUESTS)
    expect(viewers.rows()).to_have_count(2)
    assert RIDER not in page.content()
    assert page.get_by_role("link", name="Run now").count() == 0

    rider = User.objects.get(email=RIDER)
    viewers.rows().first.get_by_role("link").first.click()
    expect(page.locator(".field-user_number")).to_contain_text(f"user {rider.pk}")
    expect(page.get_by_text("masked").first).to_be_visible()
    assert "37.7793" not in page.content()


def test_a_viewer_finds_everything_but_users_in_the_admin(page, api, viewer):
    viewers = sign_in(page, api.url, viewer)
    viewers.open(ADMIN)

    for name in ("Overview", "Idempotency keys", "Requests that need review"):
        expect(page.locator("#content").get_by_role("link", name=name)).to_be_visible()
    assert page.get_by_role("link", name="Users").count() == 0
