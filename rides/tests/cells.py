"""Two cells in the test database: schemas with all of the service's tables, for whole modules."""

import contextlib
from collections.abc import Iterator

from django.core.management import call_command
from django.db import connection
from django.test import TransactionTestCase

from idempotency.cells import in_cell
from rides.management.commands.seed import seed_rider
from rides.tests.booking import RIDER

CELLS = ("cell_a", "cell_b")
NAMESPACES = {
    "cell_a": "0e9cf9a4-14b5-4f3e-a8dd-1f4a35c33a01",
    "cell_b": "9f0c2f4e-2d53-4d9b-9d0b-7a3b1f6fd102",
}


@contextlib.contextmanager
def made_cells() -> Iterator[None]:
    """Have both cells for the block, each with a namespace of its own."""
    with connection.cursor() as cursor:
        for cell in CELLS:
            cursor.execute(f"CREATE SCHEMA {cell}")
    try:
        for cell in CELLS:
            with in_cell(cell):
                call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
                with connection.cursor() as cursor:
                    own = "UPDATE idempotency_foreignkeynamespace SET namespace = %s"
                    cursor.execute(own, [NAMESPACES[cell]])
        yield
    finally:
        with connection.cursor() as cursor:
            for cell in CELLS:
                cursor.execute(f"DROP SCHEMA {cell} CASCADE")


def seed_cells() -> None:
    """Have the rider in both: another row, and another customer."""
    for cell in CELLS:
        with in_cell(cell):
            seed_rider(RIDER, "tok_visa")


def empty_cells() -> None:
    """Empty the tables of both, as those of the database are after each test."""
    for cell in CELLS:
        with in_cell(cell):
            TransactionTestCase._fixture_teardown(TransactionTestCase())
