"""The site: built with each warning an error, of every page, and of nothing from elsewhere."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from idempotency.tests.conftest import ROOT

DOCS = ROOT / "docs"
LOADED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"(https?:)?//")


def build(docs: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = ["sphinx", "--fail-on-warning", "--keep-going", "--quiet", str(docs), str(site)]
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, to be changed, and what they lead to beside them."""
    folder = tmp_path_factory.mktemp("copied")
    shutil.copytree(DOCS, folder / "docs")
    for beside in ROOT.iterdir():
        if beside != DOCS:
            (folder / beside.name).symlink_to(beside)
    return folder


@pytest.fixture(scope="module")
def site(copied: Path) -> Path:
    built = build(copied / "docs", copied / "site")
    assert built.returncode == 0, built.stderr
    return copied / "site"


def test_every_page_is_on_the_site_and_in_its_navigation(site):
    navigation = (site / "index.html").read_text()
    decisions = (site / "decisions/README.html").read_text()
    pages = [path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")]

    assert len(pages) > 40
    for page in pages:
        assert (site / page).exists()
        assert page.name == "index.html" or f'href="{page}"' in navigation or page.name in decisions


def test_the_navigation_has_the_four_kinds(site):
    captions = re.findall(r'caption-text">([^<]+)<', (site / "index.html").read_text())

    assert captions == ["Tutorial", "How-to guides", "Reference", "Explanation"]


def test_nothing_is_loaded_from_elsewhere(site):
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        text = path.read_text()
        assert not LOADED.search(text), path
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", text), path


def test_a_warning_fails_the_build(copied, site):
    with (copied / "docs/concepts.md").open("a") as page:
        page.write("\n[Nowhere](tutorial.md#nowhere)\n")

    built = build(copied / "docs", site)

    assert built.returncode != 0
    assert "concepts.md" in built.stderr
    assert "nowhere" in built.stderr
