"""The promises in `docs/guarantees.md` have their tests, and its table of bugs is the real one."""

import ast
import re

import pytest

from proof.bugs import BUGS, Bug
from proof.invariants import EVERY_INVARIANT
from rocketrides.environment import BASE_DIR

PAGE = (BASE_DIR / "docs" / "guarantees.md").read_text()
PROMISES = re.findall(r"^## (\d+\. .+?)\n(.+?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
TEST = re.compile(r"`(\S+\.py)::(test_\w+)`")
CHECKS = re.compile(r"\*Checks:\*(.+?)\.\n", re.DOTALL)


@pytest.mark.parametrize(("promise", "text"), PROMISES, ids=[title for title, _ in PROMISES])
def test_a_promise_has_tests_that_exist(promise: str, text: str):
    tests = TEST.findall(text)

    assert tests, f"no test holds {promise}"
    for path, name in tests:
        assert name in functions_of(path), f"{path} has no {name}"


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


def row_of(bug: Bug) -> str:
    checks = ", ".join(f"`{check}`" for check in bug.caught_by)
    return f"| `{bug.name}` | {bug.story} | {checks} |"


def functions_of(path: str) -> set[str]:
    tree = ast.parse((BASE_DIR / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
