"""Real brokers for the tests, each a process of its own on a free port, with its files in a folder
of the test's. The system's own service, if there is one, is left alone.
"""

import contextlib
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from sandbox.supervisor import free_port, start, wait_until

RABBITMQ_SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""Debian's. The one on PATH is a wrapper that insists on the system's user and folders."""

StartBroker = Callable[..., contextlib.AbstractContextManager[str]]
"""Takes a folder and, unless any will do, a port."""


@contextlib.contextmanager
def no_broker(folder: Path, port: int | None = None) -> Iterator[str]:
    """The queue in the database."""
    yield ""


@contextlib.contextmanager
def running_redis(folder: Path, port: int | None = None) -> Iterator[str]:
    """A Redis that keeps nothing; yields its URL."""
    port = port or free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with running([*command, "--dir", str(folder)], port, folder / "redis.log"):
        yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def running_rabbitmq(folder: Path, port: int | None = None) -> Iterator[str]:
    """A RabbitMQ with a port mapper of its own; yields its URL."""
    port, mapper_port = port or free_port(), free_port()
    environment = {
        **os.environ,
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(mapper_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"test-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
    }
    with (
        running(["epmd"], mapper_port, folder / "epmd.log", environment),
        running([RABBITMQ_SERVER], port, folder / "rabbitmq.log", environment),
    ):
        yield f"amqp://guest:guest@127.0.0.1:{port}//"


@contextlib.contextmanager
def running(
    command: list[str], port: int, log: Path, environment: dict[str, str] | None = None
) -> Iterator[None]:
    """A process that answers on `port`, and that ends with the block."""
    with log.open("w") as output:
        broker = start(command, environment or os.environ, output=output)
    try:
        wait_until(lambda: not broker.is_running() or answers(port))
        assert broker.is_running(), log.read_text()
        yield
    finally:
        broker.kill()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


QUEUES: dict[str, StartBroker] = {
    "database": no_broker,
    "redis": running_redis,
    "rabbitmq": running_rabbitmq,
}

_PROGRAMS = {"redis": "redis-server", "rabbitmq": RABBITMQ_SERVER}


def why_not(queue: str) -> str:
    """Return why this queue cannot be tested here, or nothing."""
    program = _PROGRAMS.get(queue)
    if program and not shutil.which(program):
        return f"{program} is not installed (`make test-queue` as root installs it)"
    return ""
