"""Chromium, the service with its workers, and a page of somebody who is signed in."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import Group
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from idempotency.console.roles import group_name, make_roles
from idempotency.watching.standing import WORKERS
from rides.models import User
from rides.tests.browser.console import Complaints, Console
from rides.tests.processes import Api, Running, running_api, running_command
from sandbox.stripe.control import StandIn
from sandbox.supervisor import commands

CHROMIUM = "/usr/bin/chromium"
PULSE = {"PULSE_SECONDS": "1"}
WIDE, NARROW = (1280, 900), (400, 800)

# Playwright's loop runs in the thread of the tests, and Django would refuse to be called there. The
# service's processes have none, so the variable is empty for them.
ALLOWED_BESIDE_A_LOOP = "DJANGO_ALLOW_ASYNC_UNSAFE"
AS_IN_PRODUCTION = {**PULSE, ALLOWED_BESIDE_A_LOOP: ""}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright, pytest.MonkeyPatch.context() as patch:
        patch.setenv(ALLOWED_BESIDE_A_LOOP, "yes")
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def api(
    stand_in_process: StandIn, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """The API as the Procfile runs it, which tells each second what it has counted."""
    with ExitStack() as running:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in AS_IN_PRODUCTION.items():
                patch.setenv(name, value)
            started = running_api(stand_in_process, tmp_path_factory.mktemp("api"))
            api = running.enter_context(started)
        yield api


StartsWorker = Callable[..., Running]


@pytest.fixture
def start_worker(stand_in: StandIn, api: Api, tmp_path: Path) -> Iterator[StartsWorker]:
    """Start one of the Procfile's workers; it ends with the test."""
    with ExitStack() as running:

        def start(name: str, **variables: str) -> Running:
            _, _, command = commands()[name].partition("manage.py ")
            arguments = command.replace("'*'", "*").split()
            started = running_command(
                *arguments,
                stand_in=stand_in,
                folder=tmp_path,
                **{**AS_IN_PRODUCTION, **variables},
            )
            return running.enter_context(started)

        yield start


@pytest.fixture
def steady_workers(start_worker: StartsWorker, riders: None) -> dict[str, Running]:
    """All but the completer, at production's pace. That one looks no further back than it has
    looked, so a test starts it where its time has passed.
    """
    return {name: start_worker(name) for name in WORKERS if name != "completer"}


@pytest.fixture
def roles(transactional_db: None) -> None:
    """As `migrate` leaves them."""
    for label in ("idempotency", "rides"):
        make_roles(app_config=apps.get_app_config(label))


OpensPage = Callable[..., Page]


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[OpensPage]:
    """Open a page of a browser without cookies; at the end nothing has been found wrong with it."""
    opened: list[tuple[BrowserContext, Complaints]] = []

    def open_one(size: tuple[int, int] = WIDE, scheme: Any = "light") -> Page:
        width, height = size
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB"
        )
        context.set_default_timeout(10_000)
        page = context.new_page()
        opened.append((context, Complaints(page)))
        return page

    yield open_one
    complaints = [said for _, complaints in opened for said in complaints.all]
    for context, _ in opened:
        context.close()
    assert complaints == []


@pytest.fixture
def page(open_page: OpensPage) -> Page:
    return open_page()


def sign_in(page: Page, url: str, user: User) -> Console:
    """Give a page the cookie that the login gives."""
    client = Client()
    client.force_login(user)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": url}])
    return Console(page, url)


@pytest.fixture
def operator(roles: None) -> User:
    return member_of("operator")


@pytest.fixture
def viewer(roles: None) -> User:
    return member_of("viewer")


def member_of(role: str) -> User:
    person = User.objects.create_user(f"{role}@example.com", is_staff=True)
    person.groups.add(Group.objects.get(name=group_name(role)))
    return person


@pytest.fixture
def console(page: Page, api: Api, operator: User, riders: None) -> Console:
    """The console, wide and light, of an operator."""
    return sign_in(page, api.url, operator)


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Callable[[Page, str], None]:
    """Keep what a page looks like for docs/, where SCREENSHOTS names a folder."""
    folder = os.environ.get("SCREENSHOTS")

    def keep(page: Page, name: str) -> None:
        if folder:
            page.screenshot(path=f"{folder}/{name}.png", animations="disabled")

    return keep
