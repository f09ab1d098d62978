"""Real processes for the tests: started on a free port, killed, and asked over HTTP."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from urllib.error import HTTPError
from urllib.request import Request, urlopen

PATIENCE_SECONDS = 30
LOOK_AGAIN_SECONDS = 0.02


@dataclass
class Process:
    """A server. `{port}` in its command is its port; it may be started again when it was killed."""

    command: str
    environment: dict = field(default_factory=dict)
    port: int = field(default_factory=lambda: free_port())

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        words = self.command.format(port=self.port).split()
        environment = {**os.environ, **self.environment}
        self.running = subprocess.Popen(
            [sys.executable, *words], env=environment, start_new_session=True
        )
        wait_until(self.answers)

    def kill(self):
        """End it as `kill -9` does, and its children, one of which may have the port."""
        with suppress(ProcessLookupError):
            os.killpg(self.running.pid, signal.SIGKILL)
        self.running.wait()
        wait_until(lambda: not is_open(self.port))

    def answers(self):
        assert self.running.poll() is None, f"{self.command} has ended"
        return is_open(self.port)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    text: bytes

    @property
    def body(self):
        return json.loads(self.text)


def ask(url, method="GET", body=None, headers=None):
    """Return the answer of a server, whatever its status. A body of text is sent as a form."""
    is_form = isinstance(body, str)
    kind = "application/x-www-form-urlencoded" if is_form else "application/json"
    data = None if body is None else (body if is_form else json.dumps(body)).encode()
    headers = {"Content-Type": kind, **(headers or {})}
    try:
        with urlopen(
            Request(url, data, headers, method=method), timeout=PATIENCE_SECONDS
        ) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except HTTPError as error:
        return Answer(error.code, error.headers, error.read())


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(LOOK_AGAIN_SECONDS)


def is_open(port):
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as probe:
        return probe.getsockname() != probe.getpeername()  # or TCP has connected it to itself
    return False


def free_port():
    """Return a port with two behind it, all free, which the system gives to nobody by itself."""
    ports = random.sample(range(20_000, 30_000), 100)
    return next(n for n in ports if not any(map(is_open, (n, n + 1, n + 2))))
