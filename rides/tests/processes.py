"""The service's real processes on the test database: two servers, the workers, and their end.

Apart from the fixtures, because crash tests start, freeze and kill processes one by one. Each runs
in a session of its own, so that a signal reaches it with all its children and nothing else.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from django.db import connection
from honcho.environ import parse_procfile

from rocketrides.environment import BASE_DIR
from rocketrides.settings import database_url
from sandbox.stripe.control import StandIn

PATIENCE_SECONDS = 30.0
LOOK_AGAIN_SECONDS = 0.01

GRANIAN = parse_procfile((BASE_DIR / "Procfile").read_text()).processes["api"]
RUNSERVER = "exec python manage.py runserver 127.0.0.1:$PORT --noreload"

COMPLAINT = re.compile(r"level=(error|critical)|\[ERROR\]|Traceback", re.IGNORECASE)


@dataclass(frozen=True)
class Running:
    """A process with its children, and the file that holds what they say."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def kill(self) -> None:
        """End everything at once, as a power cut would."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def complaints(self) -> list[str]:
        """The lines of the log that an operator would have to look at."""
        return [line for line in self.log.read_text().splitlines() if COMPLAINT.search(line)]

    def _signal(self, number: signal.Signals) -> None:
        # Killed before, perhaps by the test itself.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@dataclass(frozen=True)
class Api(Running):
    """A server of the API."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            requests.get(self.url, timeout=PATIENCE_SECONDS)
        except requests.ConnectionError:
            return False
        return True


@contextlib.contextmanager
def running_api(stand_in: StandIn, folder: Path, command: str = GRANIAN) -> Iterator[Api]:
    """A server on a free port, killed at the end of the block; its log is kept in `folder`."""
    port = free_port()
    running = start(["sh", "-c", command], stand_in, folder, PORT=str(port))
    api = Api(running.process, running.log, port)
    try:
        wait_until(api.is_up)
        yield api
    finally:
        api.kill()


@contextlib.contextmanager
def running_command(
    *arguments: str, stand_in: StandIn, folder: Path, **variables: str
) -> Iterator[Running]:
    """`manage.py` with `arguments`, killed at the end of the block if it has not ended."""
    running = start([sys.executable, "manage.py", *arguments], stand_in, folder, **variables)
    try:
        yield running
    finally:
        running.kill()


def run_command(*arguments: str, stand_in: StandIn, folder: Path) -> str:
    """Run `manage.py` with `arguments` to its good end and return what it said."""
    with running_command(*arguments, stand_in=stand_in, folder=folder) as command:
        status = command.process.wait(PATIENCE_SECONDS)
    said = command.log.read_text().strip()
    assert status == 0, said
    return said


def start(command: list[str], stand_in: StandIn, folder: Path, **variables: str) -> Running:
    descriptor, log = tempfile.mkstemp(suffix=".log", dir=folder)
    with os.fdopen(descriptor, "w") as output:
        process = subprocess.Popen(
            command,
            cwd=BASE_DIR,
            env={**environment(stand_in), **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return Running(process, Path(log))


def environment(stand_in: StandIn) -> dict[str, str]:
    """The test database and the stand-in, configured as any PostgreSQL and Stripe would be."""
    database = urlsplit(database_url)._replace(path=f"/{connection.settings_dict['NAME']}")
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DJANGO_SETTINGS_MODULE": "rocketrides.settings",
        "DEBUG": "on",
        "DATABASE_URL": database.geturl(),
        "STRIPE_API_KEY": "sk_test_sandbox",
        "STRIPE_API_BASE": stand_in.base_url,
        "EMAIL_URL": "dummymail://",
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], object]) -> None:
    """Look until the condition holds: for what another process does and tells nobody."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{condition} did not come true"
        time.sleep(LOOK_AGAIN_SECONDS)
