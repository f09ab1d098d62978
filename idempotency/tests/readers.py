"""A reader who follows a page: its files are written, its commands run.

A block of Python is a file, named by its first line. In a block of console, a line with `$` is a
command, and the lines below it are all that it prints, where `...` stands for any; one with
`name$` starts a process that goes on, in place of the one that had the name. A block of sh, which
installs things, is left out: the wheel is on PYTHONPATH.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from django.db import connection

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w/]+\.py)(, at the end)?\n")
COMMAND = re.compile(r"^(\w*)\$ ((?:.*\\\n)*.*)\n((?:(?!\w*\$ ).*\n)*)", re.MULTILINE)

PATIENCE_SECONDS = 60
LOOK_AGAIN_SECONDS = 0.02


@dataclass
class Reader:
    """A folder with the page's files, and the processes that the page has started."""

    folder: Path
    environment: dict[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def follow(self, page: str) -> list[str]:
        """Do what the page says; return the commands that were run to their end."""
        done = []
        for language, text in BLOCK.findall(page):
            if language == "python":
                self.write(text)
            if language == "console":
                done += self.type(text)
        return done

    def type(self, text: str) -> list[str]:
        done = []
        for name, command, shown in COMMAND.findall(text):
            if name:
                self.start(name, command)
            else:
                assert_shown(shown, self.run(command), command)
                done.append(command)
        return done

    def write(self, text: str) -> None:
        head = FILE.match(text)
        assert head, f"a file without a name: {text}"
        name, at_the_end = head.groups()
        path = self.folder / name
        before = path.read_text() + "\n\n" if at_the_end else ""
        path.write_text(before + text[head.end() :])

    def run(self, command: str) -> str:
        ran = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_SECONDS,
            text=True,
        )
        assert ran.returncode == 0 or ran.stdout.startswith("curl: "), ran.stdout
        self.wait_for_servers()
        return ran.stdout

    def start(self, name: str, command: str) -> None:
        self.stop(name)
        with self.log_of(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                ["bash", "-c", command],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_for_servers()

    def stop(self, name: str) -> None:
        if name not in self.running:
            return
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        wait_until(lambda: not is_served(port_of(process)), self.log_of(name))

    def wait_for_servers(self) -> None:
        for name, process in self.running.items():
            wait_until(partial(is_served, port_of(process)), self.log_of(name))

    def log_of(self, name: str) -> Path:
        return self.folder / f"{name}.log"


def assert_shown(shown: str, printed: str, command: str) -> None:
    """Compare line by line: the head of an answer ends its lines as HTTP does."""
    lines = [re.escape(line) for line in shown.splitlines()]
    wanted = "\n".join(lines).replace(re.escape("..."), r"(.*\n)*?.*")
    found = "\n".join(printed.splitlines())
    assert re.fullmatch(wanted, found), f"$ {command}\n{printed}\nand the page has:\n{shown}"


def port_of(process: subprocess.Popen[bytes]) -> int:
    """Return the port that stands in a process's command."""
    [port] = re.findall(r"\d{4,}", process.args[-1])
    return int(port)


def is_served(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)) as probe:
        return probe.getsockname() != probe.getpeername()  # or TCP has connected it to itself
    return False


def wait_until(condition: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(LOOK_AGAIN_SECONDS)


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return str(probe.getsockname()[1])


@contextmanager
def another_database(suffix: str) -> Iterator[str]:
    """Make an empty database beside the test's own; yield its name. One that `manage.py test` makes
    of it, and leaves where it is killed, goes with it.
    """
    name = f"{connection.settings_dict['NAME']}_{suffix}"
    drop = [f'DROP DATABASE IF EXISTS "{each}" WITH (FORCE)' for each in (name, f"test_{name}")]
    run_each([*drop, f'CREATE DATABASE "{name}"'])
    try:
        yield name
    finally:
        run_each(drop)


def run_each(statements: list[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@contextmanager
def reading_in(folder: Path, installed: Path) -> Iterator[Reader]:
    """Yield a reader with the wheel, this Python, and psql's way to the test's server; end what it
    has started.
    """
    where = connection.settings_dict
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(installed),
        "PYTHONUNBUFFERED": "1",  # standard output and error in their order, as on a terminal
        "PGHOST": where["HOST"],
        "PGPORT": str(where["PORT"]),
        "PGUSER": where["USER"],
        "PGPASSWORD": where["PASSWORD"],
    }
    reader = Reader(folder, {name: value for name, value in environment.items() if value})
    try:
        yield reader
    finally:
        for name in list(reader.running):
            reader.stop(name)
