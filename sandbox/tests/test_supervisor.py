"""Every process ends with the program that started it, however that ended."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rocketrides.environment import BASE_DIR
from sandbox import postgres, supervisor
from sandbox.supervisor import wait_until

A_PROGRAM = textwrap.dedent("""
    import os, sys
    from sandbox import supervisor
    started = supervisor.start("sleep 1000 & sleep 1000; true", os.environ)
    sys.stdout.write(f"{started.process.pid}\\n")
    sys.stdout.flush()
    sys.stdin.read()
""")


@pytest.fixture
def program() -> Iterator["subprocess.Popen[str]"]:
    """A program that has started a process with a child."""
    with subprocess.Popen(
        [sys.executable, "-c", A_PROGRAM],
        cwd=BASE_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        yield program
        program.kill()


def started_by(program: "subprocess.Popen[str]") -> list[psutil.Process]:
    assert program.stdout is not None
    leader = psutil.Process(int(program.stdout.readline()))
    wait_until(lambda: len(leader.children()) == 2)
    return [leader, *leader.children()]


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_program_has_started_ends(program, signum):
    started = started_by(program)

    program.send_signal(signum)

    wait_until(lambda: all(map(has_ended, started)))


def test_what_it_has_frozen_ends_too(program):
    started = started_by(program)
    for process in started:
        process.suspend()

    program.kill()

    wait_until(lambda: all(map(has_ended, started)))


def test_a_process_is_ended_with_its_children_and_once():
    running = supervisor.start("sleep 1000 & sleep 1000; true", os.environ)
    children = psutil.Process(running.process.pid).children()

    running.end()
    running.end()
    running.freeze()

    assert not running.is_running()
    wait_until(lambda: all(map(has_ended, children)))


def test_a_killed_run_of_the_tests_leaves_neither_its_command_nor_its_postgresql():
    with tempfile.TemporaryDirectory(prefix="during") as folder:
        data_dir = Path(folder) / "postgres"
        told = supervisor.environment(LOCAL_DIR=folder, DATABASE_URL="")
        during = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "during", "sleep", "1000"], cwd=BASE_DIR, env=told
        )
        try:
            wait_until(lambda: sleepers_of(during.pid), 60)
            started = [*sleepers_of(during.pid), postgres.server_process(data_dir)]
        finally:
            during.kill()
            during.wait()

        wait_until(lambda: all(map(has_ended, started)))


def sleepers_of(pid: int) -> list[psutil.Process]:
    return [each for each in psutil.Process(pid).children() if each.name() == "sleep"]
