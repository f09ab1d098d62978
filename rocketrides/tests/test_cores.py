"""Each process of the API keeps to a core of its own, where there is one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from rocketrides.environment import BASE_DIR

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

pytestmark = pytest.mark.skipif(not CORES, reason="this system binds no process to a core")

WORKER = """
import os
from rocketrides.cores import keep_to_one_core
keep_to_one_core()
print(*sorted(os.sched_getaffinity(0)), flush=True)
input()
"""


class Worker:
    """A process that keeps to a core, until it is told to end."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            cwd=BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.cores = [int(core) for core in self.process.stdout.readline().split()]

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def ending() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def started(ending: ExitStack) -> Worker:
    worker = Worker()
    ending.callback(worker.kill)
    return worker


def test_each_worker_has_another_core(ending):
    taken = [started(ending).cores for _ in CORES]

    assert taken == [[core] for core in CORES]


def test_a_worker_too_many_may_run_anywhere(ending):
    for _ in CORES:
        started(ending)

    assert started(ending).cores == CORES


def test_the_successor_of_a_killed_worker_gets_its_core(ending):
    first, *others = [started(ending) for _ in CORES]
    first.kill()

    assert started(ending).cores == first.cores
    assert all(worker.cores != first.cores for worker in others)
