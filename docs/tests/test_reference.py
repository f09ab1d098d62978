"""The reference is what the code says, and says all of it."""

import inspect
import re
import subprocess
import sys
from enum import Enum
from pathlib import Path

import pytest

import idempotency
import idempotency.testing
from docs.reference.write import FOLDER, PAGES
from idempotency.tests.conftest import ROOT

NAMES = [(idempotency, name) for name in idempotency.__all__] + [
    (idempotency.testing, name) for name in idempotency.testing.__all__
]
CALLED = [
    pytest.param(thing, id=name)
    for package, name in NAMES
    if callable(thing := getattr(package, name)) and not isinstance(thing, type(Enum))
]

WRITE = """
from docs.reference import write
write.set_up()
print(write.PAGES[{name!r}]())
"""


def written(name: str) -> str:
    """What the code says now, of the app alone: in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-c", WRITE.format(name=name)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return ran.stdout


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_reference_is_what_the_code_says(name):
    assert (FOLDER / name).read_text() == written(name), "python -m docs.reference.write"


def test_every_public_name_is_in_the_reference():
    pages = {idempotency: "python.md", idempotency.testing: "testing.md"}

    for package, name in NAMES:
        assert f" `{name}`\n" in (FOLDER / pages[package]).read_text()


@pytest.mark.parametrize("thing", CALLED)
def test_a_docstring_begins_with_a_sentence_and_names_every_argument(thing):
    doc = inspect.getdoc(thing) or ""
    first = re.split(r"[.:](?:\s|$)", doc)[0]

    assert first
    assert len(first.split()) <= 30, first
    if thing.__init__ is not Exception.__init__:
        for argument in inspect.signature(thing).parameters:
            said = rf"^    [\w, ]*\b{argument}\b[\w, ]*:|`{argument}`"
            assert re.search(said, doc, re.MULTILINE), f"nothing is said of {argument}"


def test_every_error_and_every_check_is_in_the_reference():
    errors, checks = ((FOLDER / page).read_text() for page in ("errors.md", "checks.md"))
    source = "".join(path.read_text() for path in Path(ROOT / "idempotency").rglob("[a-z]*.py"))

    for code in re.findall(
        r'^    status, code(?:, retryable)? = \d+, "(\w+)"', source, re.MULTILINE
    ):
        assert f"`{code}`" in errors
    ids = set(re.findall(r'id="(idempotency\.\w\d+)"', source))
    assert len(ids) > 30
    for number in ids:
        assert f"`{number}`" in checks
