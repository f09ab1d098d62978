"""Every link leads somewhere: to a file and a heading that are there, or to an address."""

import re
from collections.abc import Iterator

import pytest

from docs.tests.pages import ALL, Page, a_page, read

ADDRESS = re.compile(r"https://[\w-]+(\.[\w-]+)+(:\d+)?(/\S*)?")
OF_THIS_MACHINE = re.compile(r"http://(localhost|127\.0\.0\.1)(:\d+)?(/\S*)?")


def broken_links(page: Page) -> Iterator[str]:
    for link in page.links:
        if ":" in link.partition("/")[0]:
            if not (ADDRESS.fullmatch(link) or OF_THIS_MACHINE.fullmatch(link)):
                yield link
            continue
        name, _, anchor = link.partition("#")
        path = page.path.parent / name
        is_there = not name or path.exists()
        if not is_there or (anchor and anchor not in (read(path) if name else page).anchors):
            yield link


@pytest.mark.parametrize("page", ALL, ids=str)
def test_every_link_of_a_page_leads_somewhere(page):
    assert list(broken_links(page)) == []


def test_links_are_found_on_the_pages():
    assert sum(len(page.links) for page in ALL) > 250


@pytest.mark.parametrize(
    "link",
    [
        "nowhere.md",
        "concepts.md#nowhere",
        "#nowhere",
        "../idempotency/nowhere.py",
        "http://example.com/",
        "https://nowhere",
        "ftp://example.com",
    ],
)
def test_a_link_that_leads_nowhere_is_found(link):
    good = "[to a page](concepts.md#the-words) and <https://brandur.org/idempotency-keys>"

    assert list(broken_links(a_page(f"# Here\n\n{good}\n[and](#here) [here]({link})"))) == [link]
