"""Which nodes and cells there are, where a cell lies, and how its processes reach it."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode
from uuid import UUID, uuid5

from rocketrides.environment import BASE_DIR
from sandbox import postgres, supervisor
from sandbox.cells.citus import Node, build

COORDINATOR = "coordinator"
NODES = ("one", "two")
NUMBERS = (1, 2, 3, 4)
PORT = 5432  # only a part of a socket's name

NAMESPACE = UUID("6f1d2f0e-52c4-4a7e-9b1c-7d3a90e4c815")
"""The sandbox's, as the settings have it: the first cell keeps what was before there were cells."""

WHERE = """
SELECT nodename FROM citus_shards WHERE table_name = %s::text::regclass
"""


@dataclass(frozen=True)
class Cell:
    """A whole service for some of the riders."""

    number: int

    @property
    def schema(self) -> str:
        return f"cell_{self.number}"

    @property
    def namespace(self) -> UUID:
        return NAMESPACE if self.number == 1 else uuid5(NAMESPACE, f"cell {self.number}")

    @property
    def webhook_secret(self) -> str:
        return f"whsec_of_cell_{self.number}"

    def environment(self) -> dict[str, str]:
        """What is its own, and never another's; without where it lies."""
        return {
            "CELL": str(self.number),
            "DATABASE_SCHEMA": self.schema,
            "FOREIGN_KEY_NAMESPACE": str(self.namespace),
            "STRIPE_WEBHOOK_SECRET": self.webhook_secret,
        }


class Cluster:
    """A coordinator, and the nodes on which the cells lie."""

    def __init__(
        self,
        folder: Path,
        names: Sequence[str] = NODES,
        *,
        numbers: Sequence[int] = NUMBERS,
        database: str = postgres.DATABASE,
    ) -> None:
        self.folder = folder
        self.database = database
        self.coordinator = Node(folder / COORDINATOR, database)
        self.nodes = [Node(folder / name, database) for name in names]
        self.cells = [Cell(number) for number in numbers]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Have all its servers run for the block, and know each other.

        Raises: SystemExit, where there is no build of Citus.
        """
        citus = build()
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            for node in (self.coordinator, *self.nodes):
                node.prepare(citus)
                stack.enter_context(node.in_use())
            ask, host = self.coordinator.ask, self.coordinator.host
            ask("SELECT citus_set_coordinator_host(%s, %s)", host, PORT)
            for node in self.nodes:
                ask("SELECT citus_add_node(%s, %s)", node.host, PORT)
            ask("SELECT citus_set_node_property(%s, %s, 'shouldhaveshards', false)", host, PORT)
            yield

    def make_cells(self, variables: dict[str, str]) -> None:
        """Make what is missing of the cells, and have as many on each node."""
        for cell in self.cells:
            self.make(cell, variables)
        for place, cell in enumerate(self.cells):
            self.move(cell, self.nodes[place % len(self.nodes)])

    def make(self, cell: Cell, variables: dict[str, str]) -> None:
        own = cell.environment() | variables | {"DATABASE_URL": self.coordinator.url}
        subprocess.run(
            [sys.executable, "manage.py", "cell", "create"],
            cwd=BASE_DIR,
            env=supervisor.environment(**own),
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def add(self, node: Node, variables: dict[str, str]) -> None:
        """Have a node that runs take cells."""
        self.coordinator.ask("SELECT citus_add_node(%s, %s)", node.host, PORT)
        self.nodes.append(node)
        for cell in self.cells:
            self.make(cell, variables)  # for its range of ids

    def node_of(self, cell: Cell) -> Node:
        where = self.coordinator.ask(WHERE, f"{cell.schema}.idempotency_idempotencykey")
        return next(node for node in self.nodes if node.host == where)

    def move(self, cell: Cell, node: Node) -> bool:
        """Have a cell lie on a node; return whether it lay on another one."""
        if self.node_of(cell) == node:
            return False
        self.coordinator.ask("SELECT citus_schema_move(%s, %s, %s)", cell.schema, node.host, PORT)
        return True

    def url_by_way_of(self, node: Node) -> str:
        """Return a URL that leads to a node, and where that is away to another one.

        A cell is reached through any of them. Its own is the shortest way, and then all times of a
        statement are by one clock.
        """
        others = [other for other in (*self.nodes, self.coordinator) if other != node]
        hosts = ",".join(each.host for each in (node, *others))
        place = urlencode({"host": hosts, "port": PORT}, quote_via=quote)
        return f"postgresql://postgres@/{self.database}?{place}"

    def environment(self, cell: Cell) -> dict[str, str]:
        return cell.environment() | {"DATABASE_URL": self.url_by_way_of(self.node_of(cell))}
