"""What processes have counted that are gone is kept, and their files are not."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from idempotency.watching import ended
from idempotency.watching.ended import Busy, add_up_ended, alone_in

COUNT = """
import os, sys
from prometheus_client import Counter, Histogram
bookings = Counter("bookings", "Bookings.", ["outcome"])
seconds = Histogram("seconds", "Seconds.", ["phase"], buckets=(0.1, 1))
bookings.labels("201").inc(2)
seconds.labels("pay").observe(0.5)
if "fork" in sys.argv:
    child = os.fork()
    bookings.labels("201").inc(10)
    if child:
        os.waitpid(child, 0)
if "stay" in sys.argv:
    print("counted", flush=True)
    sys.stdin.read()
    bookings.labels("201").inc(100)
"""

Counting = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Counting]:
    """Start a process that counts into the folder; it is ended with the test."""
    with ExitStack() as stack:

        def start(*how: str) -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                [sys.executable, "-c", COUNT, *how],
                env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.communicate)
            return process

        yield start


def counted(folder: Path) -> set[str]:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    return set(generate_latest(registry).decode().splitlines())


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix == ".db"}


def test_files_of_processes_that_have_ended_become_one_of_each_kind(counting, tmp_path):
    for _ in range(3):
        counting().wait()
    before = counted(tmp_path)
    assert len(files(tmp_path)) == 6

    for _ in range(2):
        with alone_in(tmp_path):
            add_up_ended(tmp_path)
        assert files(tmp_path) == {"counter_ended.db", "histogram_ended.db"}
        assert counted(tmp_path) == before
    assert 'bookings_total{outcome="201"} 6.0' in before
    assert 'seconds_bucket{le="1.0",phase="pay"} 3.0' in before

    counting().wait()
    with alone_in(tmp_path):
        add_up_ended(tmp_path)
    assert 'bookings_total{outcome="201"} 8.0' in counted(tmp_path)


def test_a_process_that_lives_goes_on_counting_in_its_own_file(counting, tmp_path):
    living = counting("stay")
    assert living.stdout
    assert living.stdout.readline() == "counted\n"
    counting().wait()
    with alone_in(tmp_path):
        add_up_ended(tmp_path)
    assert f"counter_{living.pid}.db" in files(tmp_path)

    living.communicate("")
    assert 'bookings_total{outcome="201"} 104.0' in counted(tmp_path)
    with alone_in(tmp_path):
        add_up_ended(tmp_path)
    assert len(files(tmp_path)) == 2
    assert 'bookings_total{outcome="201"} 104.0' in counted(tmp_path)


def test_what_was_counted_before_a_fork_is_counted_once(counting, tmp_path):
    counting("fork").wait()

    assert 'bookings_total{outcome="201"} 22.0' in counted(tmp_path)


def test_who_finds_the_folder_taken_waits_for_a_while_and_no_longer(tmp_path, monkeypatch):
    monkeypatch.setattr(ended, "PATIENCE_SECONDS", 0.1)
    with alone_in(tmp_path), pytest.raises(Busy), alone_in(tmp_path):
        pass
    with alone_in(tmp_path):
        pass
