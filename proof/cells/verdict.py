"""In the end everything has come to rest, and must fit: in each cell, and at the one Stripe."""

import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

from proof.cells.load import ANSWERS, Load
from proof.cells.nemeses import several_nodes_touched_by
from proof.cells.world import World
from rocketrides.environment import BASE_DIR
from sandbox import supervisor
from sandbox.cells import start
from sandbox.cells.cluster import Cell
from sandbox.supervisor import wait_until

AT_REST_WITHIN_SECONDS = 240.0  # a lease that nobody could let go lasts 90 s

AT_WORK = """
SELECT (SELECT count(*) FROM {schema}.idempotency_idempotencykey
         WHERE recovery_point <> 'finished' AND needs_review_at IS NULL)
     + (SELECT count(*) FROM {schema}.idempotency_stagedjob)
     + (SELECT count(*) FROM {schema}.idempotency_jobdelivery)
"""
FINISHED = """
SELECT key.idempotency_key, key.response_code, ride.stripe_charge_id
  FROM {schema}.idempotency_idempotencykey AS key
  LEFT JOIN {schema}.rides_ride AS ride ON ride.idempotency_key_id = key.id
"""
UNDER_REVIEW = """
SELECT count(*) FROM {schema}.idempotency_idempotencykey WHERE needs_review_at IS NOT NULL
"""


def violations_of(world: World, load: Load) -> Iterator[str]:
    """Yield what does not hold, once everything has come to rest."""
    with contextlib.suppress(AssertionError):  # it is told below which cell is not
        wait_until(lambda: not at_work(world), AT_REST_WITHIN_SECONDS)
    yield from at_work(world)
    told = Counter(each.status for each in load.told)
    for status in set(told) - ANSWERS:
        yield f"{told[status]} times {status or 'no answer'}"
    for name in world.ended():
        yield f"the process {name} has ended"
    booked = load.booked()
    for cell in world.cluster.cells:
        yield from _of_cell(world, cell, booked[cell])
    yield from _double_charges(world)
    for node in (world.cluster.coordinator, *world.cluster.nodes):
        yield from several_nodes_touched_by(node)


def at_work(world: World) -> list[str]:
    """Return which cells have not come to rest."""
    return [
        f"{cell.schema}: {left} requests and jobs are left"
        for cell in world.cluster.cells
        if (left := world.cluster.coordinator.ask(AT_WORK.format(schema=cell.schema)))
    ]


def _of_cell(world: World, cell: Cell, booked: set[str]) -> Iterator[str]:
    rows = world.cluster.coordinator.read(FINISHED.format(schema=cell.schema))
    standing = {key: (status, charge) for key, status, charge in rows}
    for key in booked:
        status, charge = standing.get(key, (None, None))
        if status != 201 or not charge:
            yield f"{cell.schema}: {key} was answered with 201, and stands with {status} {charge}"
    if listed := world.cluster.coordinator.ask(UNDER_REVIEW.format(schema=cell.schema)):
        yield f"{cell.schema}: {listed} need a person"
    reconciled = subprocess.run(
        [sys.executable, "manage.py", "reconcile", "--json"],
        cwd=BASE_DIR,
        env=supervisor.environment(
            **world.cluster.environment(cell), **start.common(world.stripe_port), LOG_LEVEL="ERROR"
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    if reconciled.returncode:
        yield f"{cell.schema}: reconcile says {reconciled.stdout[-300:]} {reconciled.stderr[-300:]}"
    elif json.loads(reconciled.stdout)["charges"] < len(booked):
        yield f"{cell.schema}: fewer charges than rides"


def _double_charges(world: World) -> Iterator[str]:
    """Of what one request sent: its cell's mark and its foreign key."""
    succeeded = Counter(
        (charge["metadata"]["installation"], charge["metadata"]["foreign_key"])
        for charge in world.stand_in.charges(status="succeeded")
    )
    for of, times in succeeded.items():
        if times > 1:
            yield f"{times} charges for {of}"
