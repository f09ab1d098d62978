"""A project of an adopter's, in a folder of its own: its databases, its commands, its server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection

HERE = Path(__file__).parent
PATIENCE_SECONDS = 60
LOOK_AGAIN_SECONDS = 0.02


@dataclass
class Answer:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def is_replayed(self) -> bool:
        return self.headers.get("Idempotent-Replayed") == "true"


@dataclass
class Project:
    """A project's folder and environment, and the port of its server where it has one."""

    folder: Path
    environment: dict[str, str]
    server: subprocess.Popen[bytes] | None = None
    port: int = 0
    open_files: ExitStack = field(default_factory=ExitStack)

    def manage(self, *command: str) -> str:
        """Run a command of manage.py to its end; return what it printed."""
        return self.run("-m", "django", *command)

    def do(self, code: str) -> str:
        """Run code in the project."""
        return self.run("-c", f"import django; django.setup()\n{code}").strip()

    def run(self, *arguments: str) -> str:
        ran = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_SECONDS,
            text=True,
        )
        assert ran.returncode == 0, f"{arguments}: {ran.stdout}"
        return ran.stdout

    def serve(self) -> None:
        """Start the server, on the port that it had before."""
        self.port = self.port or free_port()
        log = self.open_files.enter_context(self.log.open("ab"))
        self.server = subprocess.Popen(
            [sys.executable, "-m", "django", "runserver", "--noreload", f"127.0.0.1:{self.port}"],
            cwd=self.folder,
            env=self.environment,
            stdout=log,
            stderr=log,
        )
        wait_until(self.is_served, self.log)

    def is_served(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

    def kill(self) -> None:
        """Kill the server. A client notices before this returns, and may start the next one."""
        process, self.server = self.server, None
        if process:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()

    def post(self, path: str, key: str, **fields: str) -> Answer | None:
        """Return None where the server died over the request."""
        client = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        headers = {
            "Authorization": "ann",
            "Idempotency-Key": key,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        try:
            client.request("POST", path, urlencode(fields), headers)
            return read(client.getresponse())
        except (HTTPException, OSError):
            return None
        finally:
            client.close()

    @property
    def log(self) -> Path:
        return self.folder / "server.log"


def read(response: HTTPResponse) -> Answer:
    text = response.read()
    return Answer(response.status, dict(response.headers), json.loads(text) if text else None)


def wait_until(condition: Any, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(LOOK_AGAIN_SECONDS)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def empty_databases(*names: str) -> Iterator[None]:
    """Make databases beside the test's own, and drop them in the end."""
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            cursor.execute(f'CREATE DATABASE "{name}"')
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            for name in names:
                cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def project(request, own_session, installed, ledger, tmp_path) -> Iterator[Project]:
    """The project that the test's parameter names, from the wheel, with empty databases."""
    where = connection.settings_dict
    database = f"{where['NAME']}_adopters"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{installed}{os.pathsep}{HERE}",
        "DJANGO_SETTINGS_MODULE": f"projects.{request.param}",
        "ADOPTERS_DATABASE": database,
        "ADOPTERS_SQLITE": str(tmp_path / "default.sqlite3"),
        "LEDGER_URL": ledger.url,
        "PGHOST": where["HOST"],
        "PGPORT": str(where["PORT"]),
        "PGUSER": where["USER"],
        "PGPASSWORD": where["PASSWORD"],
    }
    kept = {name: value for name, value in environment.items() if value}
    with empty_databases(database, f"{database}_replica"):
        project = Project(tmp_path, kept)
        with project.open_files:
            yield project
            project.kill()
