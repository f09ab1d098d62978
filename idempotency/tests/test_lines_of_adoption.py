"""What adoption costs in lines: counted in the examples, printed, and shown by `docs/adopting.md`.

A line of code counts that stands in `operations.py`, or between `# Adoption.` and
`# End of adoption.`, or names the app or the operation; no blank line, comment or docstring does.
"""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from idempotency.tests.conftest import ROOT

EXAMPLES = ROOT / "examples"
OPERATIONS = {"hotel": "BookTrip", "drf": "PlaceOrder", "ninja": "PlaceOrder"}
PAGE = (ROOT / "docs/adopting.md").read_text()
NOT_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
NOT_CODE |= {tokenize.ENCODING, tokenize.ENDMARKER}

# Copied, since each example is read alone.
SHARED = ("till.py", "shop/till.py", "start.py", "tests/test_kills.py", "tests/test_readme.py")


def code_of(path: Path) -> Iterator[int]:
    """Yield the numbers of the lines that have code."""
    text = path.read_text()
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        number
        for node in ast.walk(ast.parse(text))
        if isinstance(node, documented) and ast.get_docstring(node) is not None
        for number in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }
    with path.open("rb") as file:
        tokens = [each for each in tokenize.tokenize(file.readline) if each.type not in NOT_CODE]
    lines = {n for each in tokens for n in range(each.start[0], each.end[0] + 1)}
    yield from sorted(lines - docstrings)


def added_to(path: Path, operation: str) -> int:
    """Count the lines that adoption added to a file of the project."""
    lines = path.read_text().splitlines()
    if path.name == "operations.py":
        return len(list(code_of(path)))
    count, is_inside = 0, False
    code = set(code_of(path))
    for number, line in enumerate(lines, 1):
        is_inside |= line.strip() == "# Adoption."
        is_inside &= line.strip() != "# End of adoption."
        names_it = re.search(rf"\b(idempotency|idempotent|{operation})\b", line)
        count += number in code and bool(is_inside or names_it)
    return count


def counted(example: str) -> dict[str, int]:
    """Return the lines of each file of a project, the migrations, commands and tests left out."""
    [project] = [path.parent for path in (EXAMPLES / example).glob("*/settings.py")]
    counts = {path.name: added_to(path, OPERATIONS[example]) for path in project.glob("*.py")}
    return {name: count for name, count in sorted(counts.items()) if count}


def row_of(example: str) -> str:
    counts = counted(example)
    operation = counts.pop("operations.py")
    rest = ", ".join(f"`{name}` {count}" for name, count in counts.items())
    return f"| `examples/{example}` | {operation} | {sum(counts.values())}: {rest} |"


@pytest.mark.parametrize("example", OPERATIONS)
def test_the_docs_show_the_lines_that_adoption_added(example):
    row = row_of(example)
    print(f"\n{row}", end="")  # noqa: T201 - for `make test-examples`

    assert row in PAGE.splitlines()


@pytest.mark.parametrize("name", SHARED)
def test_what_the_examples_of_two_frameworks_share_is_the_same(name):
    assert (EXAMPLES / "drf" / name).read_text() == (EXAMPLES / "ninja" / name).read_text()


def test_the_processes_of_all_examples_are_started_by_the_same_code():
    files = [EXAMPLES / example / "tests/processes.py" for example in OPERATIONS]

    assert len({file.read_text() for file in files}) == 1
