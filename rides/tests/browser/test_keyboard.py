"""By the keyboard alone: from signing in over the overview and a request to an act on it."""

import pytest
from playwright.sync_api import Page, expect

from rides.tests.booking import fail_midway
from rides.tests.browser.console import OVERVIEW

pytestmark = pytest.mark.django_db(transaction=True)

MOST_TABS = 60

# What the element in focus says, how it looks, and how it looked without the focus.
IN_FOCUS = """
() => {
  const each = document.activeElement;
  const look = () => {
    const { outlineStyle, borderColor, backgroundColor, color, boxShadow } = getComputedStyle(each);
    return [outlineStyle, borderColor, backgroundColor, color, boxShadow].join();
  };
  const said = each.getAttribute("aria-label") || each.textContent || each.value || each.name;
  const focused = look();
  each.blur();
  const atRest = look();
  each.focus();
  return [said.trim(), focused, atRest];
}
"""


def tab_to(page: Page, said: str) -> None:
    """Press Tab until the focus is on what says so; each stop on the way is to be seen."""
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        name, focused, at_rest = page.evaluate(IN_FOCUS)
        assert focused != at_rest, f"the focus on {name!r} is not to be seen"
        if said in name:
            return
    raise AssertionError(f"{said!r} was not reached within {MOST_TABS} tabs")


def test_a_request_is_found_and_acted_on_by_the_keyboard_alone(page, api, operator, riders):
    operator.set_password("a password of theirs")
    operator.save()
    fail_midway(api.url, "unfinished-and-that-is-all")
    keys = page.keyboard

    page.goto(f"{api.url}{OVERVIEW}")
    keys.type(operator.email)
    keys.press("Tab")
    keys.type("a password of theirs")
    keys.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()

    tab_to(page, "Unfinished requests")
    keys.press("Enter")
    expect(page.locator("#result_list")).to_be_visible()

    tab_to(page, "unfinished-and-t…")
    keys.press("Enter")
    expect(page.locator(".key-picture")).to_be_visible()

    tab_to(page, "Run now")
    keys.press("Enter")
    page.get_by_text("Nothing is done yet.").wait_for()
    tab_to(page, "reason")
    keys.type("Ticket 12")
    keys.press("Tab")
    keys.press("Enter")
    expect(page.locator(".messagelist")).to_have_text("Run now: 1 done, 0 refused.")
