"""The statements are such that Citus takes them, in a schema that lives on one of its nodes: on any
PostgreSQL the catalogue says which functions may stand where.

Citus evaluates a STABLE function once, before it sends the statement on, so it refuses one that
looks at a column, or that is reached in some rows only (CASE, COALESCE); and a VOLATILE one
everywhere (https://docs.citusdata.com/en/stable/develop/reference_workarounds.html).
"""

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.db import connection

import idempotency
import rides
from proof.on_shards import conditionals, has_a_time_in_a_condition, inside

pytestmark = pytest.mark.django_db

WRITES = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM)\b")
CALL = re.compile(r"\b([a-z_][a-z0-9_]*)\s*\(")
STRING = re.compile(r"'(?:[^']|'')*'")
PLACEHOLDER = re.compile(r"%\(\w+\)s")
# The last one needs a package of the queue on a broker, and has no statement.
BESIDE = ("tests", "testing", "migrations", "conformance", "backends")


def modules() -> Iterator[object]:
    for package in (idempotency, rides):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not set(BESIDE) & set(found.name.split(".")):
                yield importlib.import_module(found.name)


def statements() -> dict[str, str]:
    """Every constant that writes, as it is sent, without its strings and comments."""
    found = {}
    for module in modules():
        for name, value in vars(module).items():
            if name.isupper() and isinstance(value, str) and WRITES.search(value):
                bare = STRING.sub("''", value.replace("{{", "{").replace("}}", "}"))
                found[f"{module.__name__}.{name}"] = bare
    return found


STATEMENTS = statements()


@pytest.fixture
def volatility(db) -> dict[str, set[str]]:
    """Of each function that a statement calls, how it may behave: `i`, `s` or `v`."""
    names = {name for text in STATEMENTS.values() for name in CALL.findall(text)}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname, array_agg(DISTINCT provolatile::text) FROM pg_proc"
            " WHERE proname = ANY(%s) AND pronamespace = 'pg_catalog'::regnamespace"
            " GROUP BY 1",
            [list(names)],
        )
        return {name: set(kinds) for name, kinds in cursor.fetchall()}


def columns() -> set[str]:
    models = [*apps.get_app_config("idempotency").get_models()]
    models += apps.get_app_config("rides").get_models()
    return {field.column for model in models for field in model._meta.concrete_fields}


COLUMNS = re.compile(rf"\b({'|'.join(sorted(columns()))})\b")
TIMES = re.compile(r"\b(\w+_at|run_after|leased_until|pending_since)\s*[+-]\s")


def updates(text: str) -> list[str]:
    """What is set, and where: from each UPDATE to what it returns, or to the end of its CTE."""
    found = []
    for begin in re.finditer(r"\bUPDATE\s+\w+(?:\s+AS\s+\w+)?\s+SET\b", text):
        rest, depth = text[begin.end() :], 0
        for place, letter in enumerate(rest):
            depth += (letter == "(") - (letter == ")")
            if depth < 0:
                rest = rest[:place]
                break
        found.append(re.split(r"\bRETURNING\b", rest)[0])
    return found


def test_there_are_statements_to_look_at():
    assert len(STATEMENTS) > 25
    assert {"idempotency.claims.INSERT_KEY", "idempotency.leases.WRITE_PROGRESS"} <= set(STATEMENTS)
    assert updates(STATEMENTS["idempotency.leases.WRITE_PROGRESS"])


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_what_writes_calls_nothing_volatile(name, volatility):
    called = set(CALL.findall(STATEMENTS[name]))

    assert {each for each in called if "v" in volatility.get(each, set())} == set()


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_an_update_calls_nothing_stable_with_a_column(name, volatility):
    for update in updates(STATEMENTS[name]):
        # What is asked of another table is asked before.
        outer = re.sub(r"\(\s*SELECT\b.*", "", update, flags=re.DOTALL)
        for call in CALL.finditer(outer):
            if "i" in volatility.get(call[1], {"i"}):
                continue
            arguments = PLACEHOLDER.sub("", inside(outer, call.start())[len(call[0]) :])
            assert not COLUMNS.search(arguments), f"{call[1]}({arguments}"
        # Of a time with a zone, adding an interval is as stable as the zone.
        assert not TIMES.search(PLACEHOLDER.sub("", outer)), TIMES.findall(outer)


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_an_update_has_no_time_in_a_condition(name, volatility):
    for update in updates(STATEMENTS[name]):
        for conditional in conditionals(update):
            called = set(CALL.findall(conditional))
            stable = {each for each in called if volatility.get(each, {"i"}) == {"s"}}
            assert stable == set(), conditional


@pytest.mark.parametrize(
    ("sql", "is_refused"),
    [
        ("UPDATE a SET at = CASE WHEN id = 1 THEN STATEMENT_TIMESTAMP() ELSE NULL END", True),
        ("UPDATE a SET at = COALESCE(at, now())", True),
        ("UPDATE a SET at = STATEMENT_TIMESTAMP(), b = CASE WHEN id = 1 THEN 2 ELSE 3 END", False),
        ("UPDATE a SET b = COALESCE(b, 1) WHERE at < statement_timestamp()", False),
        ("SELECT CASE WHEN at < now() THEN 1 END FROM a", False),
    ],
)
def test_what_django_writes_is_judged_as_it_is_sent(sql, is_refused):
    """By every test of the suite, whose connections all have the judge among their wrappers."""
    assert has_a_time_in_a_condition(sql) is is_refused


def test_a_statement_that_no_cell_takes_fails_the_test_that_sends_it():
    with connection.cursor() as cursor, pytest.raises(AssertionError, match="no cell on Citus"):
        cursor.execute("UPDATE rides_ride SET cancelled_at = COALESCE(cancelled_at, now())")
