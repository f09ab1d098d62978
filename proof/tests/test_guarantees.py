"""The promises in `docs/guarantees.md` have their tests, and its table of bugs is the real one."""

import re
from collections import Counter

import pytest

from proof.bugs import BUGS, Bug
from proof.invariants import EVERY_INVARIANT
from rocketrides.environment import BASE_DIR

FOLDERS = ("idempotency", "rides", "rocketrides", "sandbox", "proof", "bench")
PAGE = (BASE_DIR / "docs" / "guarantees.md").read_text()
PROMISES = re.findall(r"^## (\d+\. .+?)\n(.+?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
TEST = re.compile(r"`(\S+\.py)::(test_\w+)`")
CHECKS = re.compile(r"\*Checks:\*(.+?)\.\n", re.DOTALL)


@pytest.mark.parametrize(("promise", "text"), PROMISES, ids=[title for title, _ in PROMISES])
def test_a_promise_has_tests_that_exist(promise: str, text: str):
    tests = TEST.findall(text)

    assert tests, f"no test holds {promise}"
    for path, name in tests:
        assert name in names_of_tests((BASE_DIR / path).read_text()), f"{path} has no {name}"


@pytest.mark.parametrize(("promise", "text"), PROMISES, ids=[title for title, _ in PROMISES])
def test_a_promise_says_what_it_presumes_and_what_it_does_not_cover(promise: str, text: str):
    assert "*It presumes*" in text
    assert "*It does not cover*" in text


def test_every_check_belongs_to_a_promise():
    named = {
        name
        for _, text in PROMISES
        for part in CHECKS.findall(text)
        for name in re.findall(r"`(\w+)`", part)
    }

    assert named == {invariant.__name__ for invariant in EVERY_INVARIANT}


def test_the_table_of_bugs_is_the_one_that_we_have():
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]

    assert rows == [row_of(bug) for bug in BUGS]


def test_each_test_has_a_name_of_its_own():
    """The documents name tests, and one name in two files is mostly one promise, told twice."""
    files = [file for folder in FOLDERS for file in (BASE_DIR / folder).rglob("test_*.py")]
    names = Counter(name for file in files for name in names_of_tests(file.read_text()))

    assert [name for name, count in names.items() if count > 1] == []


def row_of(bug: Bug) -> str:
    checks = ", ".join(f"`{check}`" for check in bug.caught_by)
    return f"| `{bug.name}` | {bug.story} | {checks} |"


def names_of_tests(code: str) -> list[str]:
    return re.findall(r"^def (test_\w+)", code, re.MULTILINE)
