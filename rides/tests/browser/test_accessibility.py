"""Every page of the console and the rider's form, wide and narrow, light and dark: axe finds no
serious fault, and nothing is wider than the window.
"""

import os
import uuid
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db.models.functions import Now
from playwright.sync_api import Page

from idempotency.models import Heartbeat, JobDelivery, ReviewDecision, StagedJob
from rides.models import Ride
from rides.tests.booking import book, fail_midway, the_key
from rides.tests.browser.conftest import NARROW, WIDE, sign_in
from rides.tests.browser.console import ADMIN, OVERVIEW, REQUESTS, REVIEW
from rides.tests.reviewing import put_on_the_list

pytestmark = pytest.mark.django_db(transaction=True)

LOOKS = [
    pytest.param(WIDE, "light", id="wide-light"),
    pytest.param(WIDE, "dark", id="wide-dark"),
    pytest.param(NARROW, "light", id="narrow-light"),
    pytest.param(NARROW, "dark", id="narrow-dark", marks=pytest.mark.short),
]
IS_DARK = "matchMedia('(prefers-color-scheme: dark)').matches"
QUALITY = 55
"""Of a picture: there are four of each page."""
GRAVE = ("serious", "critical")
# The label of the admin's search box is a picture of a magnifying glass, whose text is "Search".
PASSED_OVER = {"label-title-only"}


@pytest.fixture
def pages(api, riders, stand_in) -> dict[str, str]:
    """Make rows for every page to show, and return the pages' addresses by their names."""
    book(api.url, "a-ride-that-was-booked-at-once")
    book(api.url, "its-bank-asks-the-rider-first", rider="user-3ds@example.com")
    tried = "fails-first-and-is-tried-again"
    fail_midway(api.url, tried)
    book(api.url, tried)
    fail_midway(api.url, "unfinished-and-that-is-all")
    listed = "waits-for-a-persons-decision"
    fail_midway(api.url, listed)
    put_on_the_list(listed)
    key, under_review = the_key(tried), the_key(listed)
    job = {"job_name": "rides.tasks.send_ride_receipt", "job_args": {"args": [], "kwargs": {}}}
    staged = StagedJob.objects.create(job_id=uuid.uuid4(), **job)
    aside = JobDelivery.objects.create(
        job_id=uuid.uuid4(),
        deliveries=10,
        set_aside_at=Now(),
        last_error="ConnectionRefusedError errno=111 at socket:836, from rides.tasks:27",
        **job,
    )
    ReviewDecision.objects.create(
        idempotency_key_id=key.pk,
        foreign_key=key.foreign_key,
        action="close",
        reviewer="ann",
        reason="why",
    )
    worker = Heartbeat.objects.create(
        worker="completer", host="rides-1", pid=4711, version="2026.11.2", last_batch="succeeded=1"
    )
    ride = Ride.objects.get(idempotency_key=key)
    app = "/admin/idempotency/"
    return {
        "index": ADMIN,
        "overview": OVERVIEW,
        "overview-of-a-week": f"{OVERVIEW}?range=week",
        "requests": REQUESTS,
        "requests-found": f"{REQUESTS}?q=fails&saved=unfinished",
        "request": f"{REQUESTS}{key.pk}/change/",
        "request-under-review": f"{REQUESTS}{under_review.pk}/change/",
        "act": f"{REQUESTS}act/run-now/?saved=unfinished",
        "review": REVIEW,
        "ask": f"{REQUESTS}{under_review.pk}/ask/",
        "decide": f"{REQUESTS}{under_review.pk}/decide/close/",
        "staged": f"{app}stagedjob/",
        "staged-job": f"{app}stagedjob/{staged.pk}/change/",
        "deliveries": f"{app}jobdelivery/",
        "delivery": f"{app}jobdelivery/{aside.pk}/change/",
        "workers": f"{app}heartbeat/",
        "worker": f"{app}heartbeat/{worker.pk}/change/",
        "decisions": f"{app}reviewdecision/",
        "rides": "/admin/rides/ride/",
        "ride": f"/admin/rides/ride/{ride.pk}/change/",
        "records": "/admin/rides/auditrecord/",
        "form": "/",
        "docs": "/docs",
    }


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_axe_finds_no_grave_fault_on_any_page(open_page, api, operator, pages, size, scheme):
    page = open_page(size, scheme)
    page.goto(f"{api.url}{ADMIN}")
    faults = list(grave_faults(page, "sign-in"))
    console = sign_in(page, api.url, operator)
    for name, path in pages.items():
        console.open(path)
        faults += seen(page, name)
    console.open("/")
    page.get_by_role("button", name="Book for $20.00").click()
    page.get_by_text("Your pilot is on their way!").wait_for()
    faults += seen(page, "answer")

    assert not faults, "\n".join(faults)


def seen(page: Page, name: str) -> Iterator[str]:
    """Yield what is wrong with a page; keep what it shows, where SCREENSHOTS names a folder."""
    yield from grave_faults(page, name)
    yield from wider_than_the_window(page, name)
    if folder := os.environ.get("SCREENSHOTS"):
        size, scheme = page.viewport_size, "dark" if page.evaluate(IS_DARK) else "light"
        page.screenshot(
            path=f"{folder}/{name}-{size['width']}-{scheme}.jpg",
            type="jpeg",
            quality=QUALITY,
            animations="disabled",
        )


def grave_faults(page: Page, name: str) -> Iterator[str]:
    for violation in Axe().run(page).response["violations"]:
        if violation["impact"] in GRAVE and violation["id"] not in PASSED_OVER:
            where = [" ".join(map(str, node["target"])) for node in violation["nodes"]]
            yield f"{name}: {violation['id']} ({violation['help']}): {', '.join(where[:5])}"


def wider_than_the_window(page: Page, name: str) -> Iterator[str]:
    """What is too wide scrolls in a box of its own, and the page does not."""
    wide = page.evaluate("document.documentElement.scrollWidth")
    window = page.viewport_size["width"]
    if wide > window:
        yield f"{name}: {wide} wide in a window of {window}"
