"""The app is reusable: it knows nothing of the project around it, its tests included."""

import ast
from pathlib import Path

import pytest

import idempotency

APP = Path(idempotency.__file__).parent
THE_PROJECT_AROUND = {"rides", "sandbox", "stripe", "rocketrides", "bench"}


def imported_by(source):
    """The packages that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("path", sorted(APP.rglob("*.py")), ids=lambda p: str(p.relative_to(APP)))
def test_no_module_imports_the_project(path):
    assert not THE_PROJECT_AROUND & set(imported_by(path.read_text()))


def test_an_import_is_found_wherever_it_stands():
    source = "import os, rides.models\ndef f():\n    from sandbox.stripe import api"

    assert set(imported_by(source)) == {"os", "rides", "sandbox"}


def test_what_an_adopter_imports_is_there():
    assert all(getattr(idempotency, name) for name in idempotency.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'operation'"):
        idempotency.operation  # noqa: B018
