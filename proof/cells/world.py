"""Cells on Citus for a proof: a cluster of its own, and all the processes that `make cells` has."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rocketrides.environment import BASE_DIR
from sandbox import elsewhere, postgres, supervisor
from sandbox.cells import start
from sandbox.cells.citus import Node
from sandbox.cells.cluster import PORT, Cell, Cluster
from sandbox.stripe.control import StandIn
from sandbox.stripe.process import running_stand_in
from sandbox.supervisor import Running, free_port, wait_until

UNLIMITED = {
    f"RIDES_{what}": "1000000"
    for what in ("REQUESTS_PER_ADDRESS", "REQUESTS_PER_CREDENTIAL", "REFUSALS_PER_ADDRESS")
}
PACE = {
    "COMPLETER_GRACE_SECONDS": "5",
    "COMPLETER_PAUSE_SECONDS": "2",
    "JOB_LIMIT_SECONDS": "30",
    "PULSE_SECONDS": "5",
    "STOP_GRACE_SECONDS": "2",
}
UP_WITHIN_SECONDS = 90.0
MOST_TRIES = 5

UPDATE_NODE = "SELECT citus_update_node(nodeid, %s, %s) FROM pg_dist_node WHERE nodename = %s"
IN_STEP = """
SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')
"""


@dataclass
class World:
    """What the nemeses get their hands on."""

    cluster: Cluster
    stand_in: StandIn
    stripe_port: int
    port: int
    api_keys: dict[Cell, str]
    variables: dict[str, str]
    """What all processes have alike."""
    ending: contextlib.ExitStack
    processes: dict[str, Running] = field(default_factory=dict)

    def ended(self) -> list[str]:
        """Return the processes that are not there any more."""
        return [name for name, each in self.processes.items() if not each.is_running()]

    def clocks_of(self, cell: Cell, *, by_way_of: Node) -> str:
        """Return what the service says of clocks, in a cell that is reached by way of some node."""
        ask = "from rides.clocks import clock_warnings; print(clock_warnings())"
        own = cell.environment() | {"DATABASE_URL": self.cluster.url_by_way_of(by_way_of)}
        said = subprocess.run(  # noqa: S603
            [sys.executable, "manage.py", "shell", "--no-imports", "-c", ask],
            cwd=BASE_DIR,
            env=supervisor.environment(**own, **self.variables),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return said.stdout.strip()

    def standby_of(self, node: Node) -> Node:
        """Make a standby of a node, in step with it: what the node acknowledges, both have."""
        standby = Node(node.folder.with_name(f"{node.name}-standby"))
        for tries_left in range(MOST_TRIES - 1, -1, -1):
            try:
                copy_of(node, standby)
                break
            except postgres.PostgresUnavailable:
                # Citus' own folders of passing results come and go while the data are read.
                if not tries_left:
                    raise
        (standby.folder / "log").unlink(missing_ok=True)
        standby.configure(f"citus.local_hostname = '{standby.host}'\n")
        standby.start()
        self.ending.callback(standby.stop)
        node.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
        node.ask("SELECT pg_reload_conf()")
        wait_until(lambda: node.ask(IN_STEP) == 1)
        return standby

    def promote(self, standby: Node, instead_of: Node) -> None:
        """Have the standby of a dead node be the node, for all others."""
        postgres.pg_ctl(standby.folder, "promote")
        standby.ask("ALTER SYSTEM RESET synchronous_standby_names")
        standby.ask("SELECT pg_reload_conf()")
        self.cluster.coordinator.ask(UPDATE_NODE, standby.host, PORT, instead_of.host)
        self.cluster.nodes[self.cluster.nodes.index(instead_of)] = standby


def copy_of(node: Node, standby: Node) -> None:
    """Have the data of a node be a standby's, whose folder they begin anew."""
    shutil.rmtree(standby.folder, ignore_errors=True)
    standby.folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        elsewhere.give_to_servers_user(standby.folder)
    postgres.run(
        "pg_basebackup",
        standby.folder,
        f"--dbname={node.url}",
        "--checkpoint=fast",
        "--no-sync",
        "--write-recovery-conf",
    )


@contextlib.contextmanager
def running_world(folder: Path) -> Iterator[World]:
    """Have the cluster, the cells, HAProxy, the stand-in and the service run for the block."""
    cluster, stripe_port = Cluster(folder / "nodes"), free_port()
    common = start.common(stripe_port) | PACE
    with cluster.running(), contextlib.ExitStack() as stack:
        cluster.make_cells(common)
        stand_in = stack.enter_context(running_stand_in(None, stripe_port))
        keys = {cell: start.key_of(cluster, cell, common) for cell in cluster.cells}
        world = World(cluster, stand_in, stripe_port, free_port(), keys, common, stack)
        ports = {cell: free_port() for cell in cluster.cells}
        commands = {
            "haproxy": start.balancer(world.port, ports),
            **start.processes(cluster, ports, common),
        }
        try:
            for name, command in commands.items():
                with (folder / f"{name}.log").open("w") as log:
                    env = supervisor.environment(**UNLIMITED, **common)
                    world.processes[name] = supervisor.start(command, env, output=log)
            wait_until(lambda: all(map(start.answers, ports.values())), UP_WITHIN_SECONDS)
            yield world
        finally:
            for process in world.processes.values():
                process.end()
