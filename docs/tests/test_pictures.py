"""The drawn pictures are those that `draw.py` draws, and can be read by whoever does not see them.
Those of the console are what `make screenshots` has taken.
"""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from docs.images import draw
from docs.tests.pages import ALL

CONSOLE = draw.FOLDER / "console"
MOST_BYTES = 150_000
MOST_BYTES_TOGETHER = 5_500_000
LOOKS = ("1280-light", "1280-dark", "400-light", "400-dark")
SVG = "{http://www.w3.org/2000/svg}"
DRAWN = [draw.phases, draw.recovery, draw.fence, draw.job]


@pytest.mark.parametrize("drawn", DRAWN)
def test_a_picture_is_as_it_is_drawn(drawn):
    assert (draw.FOLDER / f"{drawn.__name__}.svg").read_text() == drawn().written()


def test_every_picture_is_one_that_is_drawn():
    assert {path.stem for path in draw.FOLDER.glob("*.svg")} == {d.__name__ for d in DRAWN}


def test_every_picture_of_the_console_is_small_and_on_a_page():
    shown = {link for page in ALL for link in page.links if "images/console/" in link}

    assert {path.name for path in CONSOLE.iterdir()} == {Path(link).name for link in shown}
    sizes = [path.stat().st_size for path in CONSOLE.iterdir()]
    assert max(sizes) < MOST_BYTES
    assert sum(sizes) < MOST_BYTES_TOGETHER


def test_each_page_of_the_console_is_there_wide_and_narrow_light_and_dark():
    taken = {path.stem for path in CONSOLE.glob("*.jpg")}
    pages = {stem.rsplit("-", 2)[0] for stem in taken}

    assert pages >= {"overview", "requests", "request", "act", "review", "workers"}
    assert taken == {f"{page}-{look}" for page in pages for look in LOOKS}


@pytest.mark.parametrize("drawn", DRAWN)
def test_a_picture_is_small_and_says_what_it_shows(drawn):
    written = drawn().written()
    root = ElementTree.fromstring(written)

    assert len(written.encode()) < 10_000
    assert root.findtext(f"{SVG}title")
    assert root.findtext(f"{SVG}desc")
    assert "prefers-color-scheme: dark" in written
    assert not re.search(r"href|url\(http|@import", written.replace("url(#tip)", ""))


@pytest.mark.parametrize("drawn", DRAWN)
def test_no_text_of_a_picture_is_cut_at_its_edge(drawn):
    """By eight points a letter, more than any of the fonts takes."""
    for text in ElementTree.fromstring(drawn().written()).iter(f"{SVG}text"):
        x, width = float(text.get("x")), 8 * len(text.text)
        left = x if "left" in text.get("class") else x - width / 2
        assert left >= 0
        assert left + width <= draw.WIDTH
