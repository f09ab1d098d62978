"""What happens to cells under load, one after the other, and what the clients may notice of it."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from proof.cells.load import Load, Told, by_cell
from proof.cells.world import World
from sandbox.cells.citus import Node, build
from sandbox.cells.cluster import Cell
from sandbox.supervisor import wait_until

BETWEEN_SECONDS = 2.0
AWAY_SECONDS = 4.0
BACK_WITHIN_SECONDS = 30.0
AHEAD = "+20"  # seconds
FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))

OVER_SEVERAL_NODES = """
SELECT query_execution_multi_shard FROM citus_stat_counters WHERE name = current_database()
"""

Nemesis = Callable[[World, Load], Iterator[str]]
"""Does what it is called, and yields what should not have happened."""


def each_cell_is_moved_twice(world: World, load: Load) -> Iterator[str]:
    """While it is used. Clients wait for a moment, and nobody is refused for it."""
    for _ in range(2):
        for cell in world.cluster.cells:
            yield from _move(world, load, cell)


def _move(world: World, load: Load, cell: Cell) -> Iterator[str]:
    here = world.cluster.node_of(cell)
    there = next(node for node in world.cluster.nodes if node != here)
    began_at = time.monotonic()
    world.cluster.move(cell, there)
    took = time.monotonic() - began_at
    told = [each for each in load.since(began_at) if each.cell == cell]
    longest = max((each.seconds for each in told), default=0.0)
    way = f"{cell.schema}: {here.name} > {there.name}"
    say(f"{way} in {took:.1f} s, the longest answer {longest:.1f} s")
    if world.cluster.node_of(cell) != there:
        yield f"{cell.schema} did not move"
    if refused := [each for each in told if each.status == 503]:
        yield f"{len(refused)} of 503 while {cell.schema} was moved"


def a_node_is_killed(world: World, load: Load) -> Iterator[str]:
    """Its cells are away for as long as it is, and no other is."""
    node = world.cluster.nodes[0]
    its = [cell for cell in world.cluster.cells if world.cluster.node_of(cell) == node]
    yield from several_nodes_touched_by(node)  # it forgets what it has counted
    killed_at = time.monotonic()
    node.kill()
    time.sleep(AWAY_SECONDS)
    started_at = time.monotonic()
    node.start()
    wait_until(lambda: _are_booking(load, its, time.monotonic() - 1), BACK_WITHIN_SECONDS)
    back_at = time.monotonic()
    away = load.since(killed_at, started_at)
    say(f"{node.name} was away for {started_at - killed_at:.1f} s: {by_cell(away)}")
    say(f"its cells booked {back_at - started_at:.1f} s after it was started")
    yield from _only_these_noticed(away, its)


def a_node_is_added(world: World, load: Load) -> Iterator[str]:
    """Cells go to it while they are used."""
    node = Node(world.cluster.folder / "three")
    node.prepare(build())
    world.ending.enter_context(node.in_use())
    world.cluster.add(node, world.variables)
    moved = world.cluster.cells[0]
    began_at = time.monotonic()
    world.cluster.move(moved, node)
    say(f"{node.name} was added, and has {moved.schema} after {time.monotonic() - began_at:.1f} s")
    time.sleep(BETWEEN_SECONDS)
    if not _are_booking(load, [moved], began_at):
        yield f"{moved.schema} books nothing on the node that was added"


def a_standby_is_promoted(world: World, load: Load) -> Iterator[str]:
    """Of a node that is gone for good: its cells go on where its standby is."""
    node = world.cluster.nodes[1]
    standby = world.standby_of(node)
    its = [cell for cell in world.cluster.cells if world.cluster.node_of(cell) == node]
    time.sleep(BETWEEN_SECONDS)
    yield from several_nodes_touched_by(node)
    killed_at = time.monotonic()
    node.kill()
    world.promote(standby, node)
    promoted_at = time.monotonic()
    wait_until(lambda: _are_booking(load, its, promoted_at), BACK_WITHIN_SECONDS)
    first = min(
        each.sent_at + each.seconds
        for each in load.since(promoted_at)
        if each.cell in its and each.status == 201
    )
    say(f"{node.name} is gone; the first 201 of its cells came {first - killed_at:.1f} s later")
    yield from _only_these_noticed(load.since(killed_at, promoted_at), its)


def a_cell_is_moved(world: World, load: Load) -> Iterator[str]:
    """One, once: the short form."""
    yield from _move(world, load, world.cluster.cells[0])


def a_nodes_clock_is_ahead(world: World, load: Load) -> Iterator[str]:
    """Further than a lease allows for: the check says so, and the promises hold all the same."""
    if not FAKETIME:
        say("NOT TESTED: Debian's faketime is not installed")
        return
    node, other = world.cluster.nodes[0], world.cluster.nodes[-1]
    its = [cell for cell in world.cluster.cells if world.cluster.node_of(cell) == node]
    node.stop()
    node.start(LD_PRELOAD=str(FAKETIME[0]), FAKETIME=AHEAD, DONT_FAKE_MONOTONIC="1")
    wait_until(lambda: _are_booking(load, its, time.monotonic() - 1), BACK_WITHIN_SECONDS)
    warned = world.clocks_of(its[0], by_way_of=other)
    say(f"{node.name} is {AHEAD} s ahead: {warned}")
    if "has the cell is 0:00:" not in warned:
        yield "nobody says that the clocks of two nodes differ"
    time.sleep(AWAY_SECONDS)
    node.stop()
    node.start()
    wait_until(lambda: _are_booking(load, its, time.monotonic() - 1), BACK_WITHIN_SECONDS)


SHORT: Sequence[Nemesis] = (a_cell_is_moved, a_node_is_killed)
ALL: Sequence[Nemesis] = (
    each_cell_is_moved_twice,
    a_node_is_killed,
    a_nodes_clock_is_ahead,
    a_node_is_added,
    a_standby_is_promoted,
)


def several_nodes_touched_by(node: Node) -> Iterator[str]:
    """Yield it, where statements that came by way of a node touched more than one."""
    if several := node.ask(OVER_SEVERAL_NODES):
        yield f"{several} statements by way of {node.name} touched several nodes"


def _are_booking(load: Load, cells: Sequence[Cell], since: float) -> bool:
    return set(cells) <= {each.cell for each in load.since(since) if each.status == 201}


def _only_these_noticed(told: Sequence[Told], cells: Sequence[Cell]) -> Iterator[str]:
    others = [each for each in told if each.cell not in cells]
    if refused := [each for each in others if each.status == 503]:
        yield f"{len(refused)} of 503 in cells of other nodes"
    if not any(each.status == 201 for each in others):
        yield "no cell of another node booked anything"
    if not any(each.status == 503 for each in told if each.cell in cells):
        yield "nobody was told that the cell is away"


def say(line: str) -> None:
    sys.stdout.write(f"  {line}\n")
    sys.stdout.flush()
