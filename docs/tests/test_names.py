"""What a page names is there: settings, codes of errors, checks, files and tests."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from functools import cache

import pytest
from django.conf import global_settings
from django.db import connections

from docs.tests.pages import GUIDE, ROOT, Page, a_page
from idempotency.conf import Settings

# Pages that tell of earlier days: what was printed then, and what other packages are like.
OF_OTHERS = {"evidence.md", "compared.md", "moving-from-a-cache.md"}
OURS = [page for page in GUIDE if page.path.name not in OF_OTHERS]

SETTING = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
CODE = re.compile(r"\b[45]\d\d `([a-z_]+)`")
CHECK = re.compile(r"`((?:idempotency|rides)\.[EWI]\d{3})`")
FILE = re.compile(
    r"(?:idempotency|rides|rocketrides|sandbox|proof|bench|docs|deploy)/[\w/.-]+\.\w+"
)
TEST = re.compile(r"([\w/]+\.py)::(test_\w+)")


@cache
def source() -> str:
    """All that is no page, as one text."""
    names = subprocess.run(
        ["git", "ls-files", "--", ":!*.md", ":!docs", ":!bench/results"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    return "\n".join((ROOT / name).read_text(errors="replace") for name in names)


@cache
def words() -> set[str]:
    return set(re.findall(r"\w+", source()))


SETTINGS = {each.name.upper() for each in fields(Settings)}


def is_setting(name: str) -> bool:
    """Of the app, of a file of the repository, or of Django, for a database as well."""
    of_a_database = {*connections.settings["default"], *connections.settings["default"]["TEST"]}
    return name in SETTINGS | words() | of_a_database or hasattr(global_settings, name)


def unknown_names(page: Page) -> Iterator[str]:
    for named in page.named:
        yield from unknown_settings(named)
        for path in FILE.findall(named):
            if not (ROOT / path).exists():
                yield path
        for path, test in TEST.findall(named):
            if (ROOT / path).exists() and f"def {test}(" not in (ROOT / path).read_text():
                yield f"{path}::{test}"
    for code in CODE.findall(page.prose):
        if f'"{code}"' not in source():
            yield code
    for check in CHECK.findall(page.prose):
        if f'"{check}"' not in source():
            yield check
    yield from unknown_settings_of_tables(page)


def unknown_settings(named: str) -> Iterator[str]:
    if SETTING.fullmatch(named) and not is_setting(named):
        yield named


def unknown_settings_of_tables(page: Page) -> Iterator[str]:
    """Yield those of one word, where a table's first column is of settings."""
    for head, _, *rows in page.tables:
        if head[0] == "setting":
            for name in re.findall(r"`([A-Z]+)`", " ".join(row[0] for row in rows)):
                if not is_setting(name):
                    yield name


@pytest.mark.parametrize("page", OURS, ids=str)
def test_everything_that_a_page_names_is_there(page):
    assert list(unknown_names(page)) == []


def test_the_table_of_settings_for_operators_has_only_what_the_app_reads():
    [page] = [page for page in GUIDE if page.path.name == "operating.md"]
    [table] = [table for table in page.tables if table[0][:2] == ["setting", "default"]]
    names = re.findall(r"`([A-Z_]+)`", " ".join(row[0] for row in table[2:]))

    assert len(names) > 15
    assert set(names) <= SETTINGS


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Raise `LOCK_TIMEOUT`, not `NOWHERE_TIMEOUT`.", "NOWHERE_TIMEOUT"),
        ("A 409 `request_in_progress` or a 503 `nowhere_to_be_found`.", "nowhere_to_be_found"),
        ("By `idempotency.E008` and `idempotency.E999`.", "idempotency.E999"),
        ("See `idempotency/claims.py` and `idempotency/nowhere.py`.", "idempotency/nowhere.py"),
        ("`docs/tests/test_names.py::test_nowhere`", "docs/tests/test_names.py::test_nowhere"),
        (
            "| setting | |\n| --- | --- |\n| `RETENTION` | |\n| `NOTASETTING` | |\n",
            "NOTASETTING",
        ),
    ],
)
def test_a_name_that_is_not_there_is_found(text, found):
    assert list(unknown_names(a_page(text))) == [found]
