"""What users run: Patroni over etcd, two nodes of PostgreSQL, and HAProxy before them.

HAProxy leads to the node whose Patroni says that it is the primary, and ends the connections to one
that no longer is. The programs are Debian's, but for Patroni, which has an environment of its own
(`VENV_PATRONI`).
"""

import contextlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg2

from rocketrides.environment import BASE_DIR
from sandbox import elsewhere, postgres, supervisor
from sandbox.supervisor import Running, wait_until

PROGRAMS = Path(os.environ.get("VENV_PATRONI", BASE_DIR / ".venv-patroni")) / "bin"
CLUSTER = "rides"
PATIENCE_SECONDS = 120.0
KILLS = 2

WHY_NOT = "".join(
    f"{program} is not installed"
    for program in ("etcd", "haproxy", str(PROGRAMS / "patroni"))
    if not shutil.which(program)
)

HAPROXY = """
defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
listen primary
    bind 127.0.0.1:{port}
    option httpchk GET /primary
    http-check expect status 200
    default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
"""
SERVER = "    server {name} 127.0.0.1:{port} check port {rest_port}\n"


@dataclass(frozen=True)
class Node:
    """One server of PostgreSQL with its Patroni."""

    name: str
    folder: Path
    port: int
    rest_port: int

    @property
    def data(self) -> Path:
        return self.folder / self.name

    @property
    def is_primary(self) -> bool:
        return self._answers("primary")

    @property
    def is_synchronous_standby(self) -> bool:
        """As Patroni has it: it may take over, and has all that a client was told."""
        return self._answers("synchronous")

    def _answers(self, role: str) -> bool:
        with contextlib.suppress(OSError):
            address = f"http://127.0.0.1:{self.rest_port}/{role}"
            with urllib.request.urlopen(address, timeout=2) as answer:
                return bool(answer.status == 200)
        return False

    def configuration(self, etcd_port: int) -> dict[str, Any]:
        """JSON, which is YAML too."""
        trusted = [f"host {database} all 127.0.0.1/32 trust" for database in ("all", "replication")]
        return {
            "scope": CLUSTER,
            "name": self.name,
            "restapi": place("listen", "connect_address", self.rest_port),
            "etcd3": {"hosts": f"127.0.0.1:{etcd_port}"},
            "bootstrap": {
                "dcs": {
                    "ttl": 20,
                    "loop_wait": 2,
                    "retry_timeout": 5,
                    # What a client was told is on both nodes.
                    "synchronous_mode": True,
                    "postgresql": {"use_pg_rewind": True},
                },
                "initdb": ["no-sync", {"encoding": "UTF8"}, {"locale": "C.UTF-8"}],
            },
            "postgresql": {
                **place("listen", "connect_address", self.port),
                "data_dir": str(self.data),
                "bin_dir": str(postgres.PROGRAMS),
                "pgpass": str(self.folder / f"{self.name}.pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres"},
                    "replication": {"username": "replicator", "password": "not-asked-for"},
                    "rewind": {"username": "postgres"},
                },
                "parameters": {
                    "max_connections": 200,
                    "unix_socket_directories": str(self.folder),
                },
                "pg_hba": trusted,
                "remove_data_directory_on_rewind_failure": True,
                "remove_data_directory_on_diverged_timelines": True,
            },
            "watchdog": {"mode": "off"},
        }


@dataclass
class Cluster:
    """Two nodes, one of which is the primary, and the one address that leads to it."""

    folder: Path
    switchovers: int = 0
    promoted_at: float = 0.0
    processes: dict[str, Running] = field(default_factory=dict)
    restarts: tuple[Callable[[], None], ...] = ()

    def __post_init__(self) -> None:
        self.port, self.etcd_port, *ports = free_ports(7)
        self.nodes = [
            Node(name, self.folder, *ports[2 * n : 2 * n + 2]) for n, name in enumerate(("a", "b"))
        ]

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/{postgres.DATABASE}"

    def disasters(self, switchovers: int) -> Sequence[Callable[[], None]]:
        return (*[self.switch_over] * switchovers, *[self.kill_leader] * KILLS)

    def start(self) -> None:
        if WHY_NOT:
            raise SystemExit(f"NOT TESTED: {WHY_NOT}")
        own(self.folder)
        peer_port = free_ports(1)[0]
        self._run(
            "etcd",
            *("etcd", f"--data-dir={self.folder / 'etcd'}", "--log-level=error"),
            f"--listen-client-urls=http://127.0.0.1:{self.etcd_port}",
            f"--advertise-client-urls=http://127.0.0.1:{self.etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
        )
        for node in self.nodes:
            path = self.folder / f"{node.name}.yml"
            path.write_text(json.dumps(node.configuration(self.etcd_port)))
            self._start_node(node)
        haproxy = self.folder / "haproxy.cfg"
        servers = "".join(SERVER.format(**vars(node)) for node in self.nodes)
        haproxy.write_text(HAPROXY.format(port=self.port) + servers)
        self._run("haproxy", "haproxy", "-f", str(haproxy))
        wait_until(self._is_whole, PATIENCE_SECONDS)
        self._create_database()

    def stop(self) -> None:
        for node in self.nodes:
            if node.name in self.processes:
                self._kill_node(node)
        for name in self.processes.keys() - {node.name for node in self.nodes}:
            self._kill(name)

    def log(self) -> str:
        logs = [self.folder / f"{node.name}.log" for node in self.nodes]
        return "".join(log.read_text(errors="replace") for log in logs)

    def switch_over(self) -> None:
        wait_until(self._is_whole, PATIENCE_SECONDS)
        old, new = self._leader_and_other()
        command = [str(PROGRAMS / "patronictl"), "-c", str(self.folder / "a.yml")]
        arguments = [
            "switchover",
            CLUSTER,
            "--leader",
            old.name,
            "--candidate",
            new.name,
            "--force",
        ]
        with (self.folder / "patronictl.log").open("ab") as log:
            asking = subprocess.Popen([*command, *arguments], stdout=log, stderr=log)  # noqa: S603
            self._note_promotion(new)
            asking.wait()

    def kill_leader(self) -> None:
        """Its Patroni and its PostgreSQL at once, as if the machine were gone; then it is back."""
        wait_until(self._is_whole, PATIENCE_SECONDS)
        old, new = self._leader_and_other()
        self._kill_node(old)
        self._note_promotion(new)
        self._start_node(old)

    def _note_promotion(self, node: Node) -> None:
        wait_until(lambda: node.is_primary, PATIENCE_SECONDS)
        self.promoted_at = time.monotonic()
        self.switchovers += 1

    def _is_whole(self) -> bool:
        one, other = self.nodes
        return any(
            leader.is_primary and standby.is_synchronous_standby
            for leader, standby in ((one, other), (other, one))
        )

    def _leader_and_other(self) -> tuple[Node, Node]:
        one, other = self.nodes
        return (one, other) if one.is_primary else (other, one)

    def _create_database(self) -> None:
        url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        with contextlib.closing(psycopg2.connect(url, connect_timeout=5)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE {postgres.DATABASE}")

    def _start_node(self, node: Node) -> None:
        self._run(node.name, str(PROGRAMS / "patroni"), str(self.folder / f"{node.name}.yml"))

    def _run(self, name: str, *command: str) -> None:
        owner: dict[str, Any] = {}
        if os.geteuid() == 0 and name in ("a", "b"):
            nobody = pwd.getpwnam("nobody")
            owner = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = supervisor.start(
                command, os.environ, cwd=self.folder, output=log, **owner
            )

    def _kill(self, name: str) -> None:
        self.processes[name].kill()

    def _kill_node(self, node: Node) -> None:
        """Patroni, and PostgreSQL, which Patroni starts as a process that outlives it."""
        self._kill(node.name)
        if server := postgres.server_process(node.data):
            for process in (server, *server.children()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def place(listen: str, connect: str, port: int) -> dict[str, str]:
    return dict.fromkeys((listen, connect), f"127.0.0.1:{port}")


def own(folder: Path) -> None:
    """PostgreSQL, and Patroni with it, is not run by root."""
    if os.geteuid() == 0:
        elsewhere.give_to_servers_user(folder)
        elsewhere.let_pass(folder)
        for programs in ((PROGRAMS / "python").resolve().parent, PROGRAMS, postgres.PROGRAMS):
            if closed := elsewhere.closed_to_others(programs):
                raise SystemExit(
                    f"{elsewhere.SERVERS_USER} runs Patroni, and may not enter {closed}"
                )


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]
