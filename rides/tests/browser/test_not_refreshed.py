"""An overview that is not refreshed any more says so."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_overview_that_gets_no_answer_says_so_until_it_gets_one(console):
    page = console.page
    page.clock.install()
    console.open_overview()
    page.mouse.move(0, 0)
    said = page.get_by_role("alert").filter(has_text="Not refreshed")
    page.clock.run_for(11_000)
    expect(said).to_be_hidden()

    # In the page, since the browser complains of an address that does not answer.
    page.evaluate("() => { window.kept = fetch; window.fetch = () => Promise.reject(0); }")
    page.clock.run_for(11_000)
    expect(said).to_be_visible()

    page.evaluate("() => { window.fetch = window.kept; }")
    page.clock.run_for(11_000)
    expect(said).to_be_hidden()
