"""`python -m proof.cells.suite`: the tests of both apps, each in a cell on Citus.

The app's run by way of a node that has no cell, and the service's by way of the cell's own. What a
cell has not is marked in the tests, `not_in_a_cell`, each with its reason. Arguments are pytest's.
"""

import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from proof.cells.__main__ import reachable
from rocketrides.environment import BASE_DIR
from sandbox import supervisor
from sandbox.cells.citus import Node
from sandbox.cells.cluster import NAMESPACE, Cell, Cluster

DATABASE = "test_rocketrides"  # as Django calls that of tests, which is taken as it is
KEPT = "idempotency_foreignkeynamespace"
SHORT = {
    "idempotency": ["claims", "fresh_keys", "leases", "reaper", "jobs", "acts"],
    "rides": ["creating_a_ride", "reversals", "undoing", "webhooks_reversals"],
}
SUITES = ("idempotency", "rides")


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="cells-") as folder:
        cluster = Cluster(
            reachable(Path(folder)), ("one", "two", "three"), numbers=(1, 2), database=DATABASE
        )
        with cluster.running():
            cluster.make_cells({"STRIPE_API_KEY": "sk_test_sandbox"})
            for cell in cluster.cells:
                make_tables_of_tests(cluster, cell)
            ways = (cluster.nodes[2], cluster.nodes[1])
            with ThreadPoolExecutor(len(SUITES)) as running:
                ended = running.map(run, SUITES, cluster.cells, ways)
            return max(ended)


def chosen(suite: str) -> list[str]:
    """Return what pytest is to run: all of an app, or in the short form what the guarantee is."""
    if sys.argv[1:] == ["--short"]:
        return [f"{suite}/tests/test_{name}.py" for name in SHORT[suite]]
    return [suite, *sys.argv[1:]]


def make_tables_of_tests(cluster: Cluster, cell: Cell) -> None:
    """Make those that no migration makes; and have the cell be what tests take for ours."""
    cluster.coordinator.ask(f"UPDATE {cell.schema}.{KEPT} SET namespace = %s", str(NAMESPACE))  # noqa: S608
    migrate = [sys.executable, "manage.py", "migrate", "--run-syncdb", "--verbosity", "0"]
    through_coordinator = supervisor.environment(
        DATABASE_SCHEMA=cell.schema, DATABASE_URL=cluster.coordinator.url
    )
    subprocess.run(migrate, cwd=BASE_DIR, env=through_coordinator, check=True)  # noqa: S603


def run(suite: str, cell: Cell, way: Node) -> int:
    """Run the tests of an app; their output is told when they have ended."""
    own = supervisor.environment(DATABASE_SCHEMA=cell.schema, SUITE_IN_A_CELL="1")
    tests = subprocess.run(  # noqa: S603
        [*(sys.executable, "-m", "pytest", "-q", "--reuse-db"), *chosen(suite)],
        cwd=BASE_DIR,
        env=own | {"DATABASE_URL": way.url.replace(DATABASE, DATABASE.removeprefix("test_"))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    sys.stdout.write(f"{suite} in {cell.schema}, by way of {way.name}{os.linesep}{tests.stdout}")
    return tests.returncode


if __name__ == "__main__":
    sys.exit(main())
