"""That the benchmark still measures what it says: the same work, counted right."""

import re
import shutil
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from psycopg2.extras import RealDictCursor

from bench import database, load
from bench.contestants import CONTESTANTS
from bench.measuring import Cell, count_statements, measure_rounds
from bench.ratios import price_of_safety, ratios
from bench.report import Line, table
from bench.targets import targets
from bench.tests.conftest import contestant, server_of
from bench.world import World

WRITTEN = (
    "idempotency_idempotencykey",
    "rides_ride",
    "rides_auditrecord",
    "idempotency_stagedjob",
)
RANDOM = re.compile(r"(fresh|floor)-|[0-9a-f]{8}[0-9a-f-]+")

needs_wrk = pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed here")


@pytest.mark.parametrize("name", [each.name for each in CONTESTANTS])
def test_every_contestant_answers(world: World, name: str) -> None:
    contestant(name).ask(server_of(name, world), 1)


@pytest.mark.parametrize(
    ("name", "tables"),
    [
        ("floor", WRITTEN),
        ("unsafe", WRITTEN[2:]),
        ("dbos", WRITTEN[2:]),
        ("packaged", WRITTEN[2:]),
    ],
)
def test_the_others_leave_the_rows_that_a_ride_of_ours_leaves(
    world: World, name: str, tables: tuple[str, ...]
) -> None:
    ours, other = server_of("ours", world), server_of(name, world)
    contestant(name).ask(other, 1)

    for written in tables:
        assert _newest(other.database, written) == _newest(ours.database, written)


def test_a_ride_is_two_commits_and_a_replay_none(world: World) -> None:
    server_of("ours", world)

    _, commits_of_a_ride = count_statements(world, contestant("ours"))
    statements_of_a_view, _ = count_statements(world, contestant("plain"))
    _, commits_of_a_replay = count_statements(world, contestant("replays"))

    # Besides, each process reads once a second whether the doors are closed.
    counted = (commits_of_a_ride, statements_of_a_view, commits_of_a_replay)
    assert counted == pytest.approx((2, 2, 0), abs=0.2)


@needs_wrk
def test_answers_are_counted_by_their_status(world: World) -> None:
    address = server_of("ours", world).url

    refused = load.send(f"{address}/nowhere", load.fresh(), clients=2, seconds=1)
    replays = contestant("replays").load(
        server_of("replays", world), clients=2, latency_ms=0, seconds=1
    )

    assert set(refused.statuses) == {"404"}
    assert replays.replayed == replays.statuses["201"] > 0


@needs_wrk
def test_a_run_ends_in_tables_of_the_price_the_ratios_and_the_targets(world: World) -> None:
    cell = Cell(clients=2, latency_ms=0)
    taking_part = [contestant(name) for name in ("floor", "ours", "unsafe")]

    runs = measure_rounds(world, taking_part, cell, rounds=1, seconds=1)
    lines = [Line(each, cell, runs[each.name], 0, 0) for each in taking_part]
    floor, ours, unsafe = lines

    assert all(each.rate > 0 for each in lines)  # which is faster, no second of a test run can say
    assert floor.connections == 2
    assert min(each.cpu_ms("service") for each in (ours, unsafe)) > 0
    assert all(each.title in table(lines) for each in taking_part)
    assert f"| {unsafe.cost_ms / ours.cost_ms:.2f}" in price_of_safety(lines)
    assert f"| {ours.rate / floor.rate:.2f}" in ratios(lines)
    assert "not measured" in targets(lines, None, None)


def _newest(name: str, written: str) -> dict[str, Any]:
    """The newest row of a table, with what differs from ride to ride made equal."""
    connection = psycopg2.connect(database.url(name), cursor_factory=RealDictCursor)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {written} ORDER BY id DESC LIMIT 1")
            row = cursor.fetchone()
            assert row is not None, f"{written} has no row"
            return {column: _made_equal(value, column) for column, value in row.items()}
    finally:
        connection.close()


def _made_equal(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {inner: _made_equal(each, inner) for inner, each in value.items()}
    if isinstance(value, list):
        return [_made_equal(each) for each in value]
    if name == "id" or name.endswith("_id") or isinstance(value, datetime | float | UUID):
        return type(value).__name__
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value):
        return "datetime"
    return RANDOM.sub("…", value) if isinstance(value, str) else value
