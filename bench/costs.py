"""What a run costs: processor time by process group, memory, and connections to the database.

Apart from the measuring because it looks at processes from outside, whoever they are.
"""

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

from bench import database
from bench.world import Server
from sandbox.stripe.control import StandIn

OTHERS = "others"
LOOK_EVERY_SECONDS = 0.2
AT_REST = 0.1  # of a processor
REST_SECONDS_MAX = 60

Groups = dict[str, psutil.Process | None]


@dataclass
class Peak:
    """The most that was seen."""

    value: int = 0


def groups(server: Server, stand_in: StandIn) -> Groups:
    """Of the processes that take part in a run; the load generator comes and goes."""
    return {
        "service": server.process,
        "PostgreSQL": database.process(),
        "Stripe": psutil.Process(stand_in.pid),
    }


def cpu_seconds(groups: Groups) -> dict[str, float]:
    """By group; the load generator's are those of this process's ended children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = {name: _of_tree(process) for name, process in groups.items() if process}
    ours = {"service": 0.0, **spent, "load": children.ru_utime + children.ru_stime}
    machine = psutil.cpu_times()
    return {**ours, OTHERS: sum(machine) - machine.idle - machine.iowait - sum(ours.values())}


def _working_seconds(groups: Groups) -> float:
    return sum(_of_tree(process) for process in groups.values() if process)


def _of_tree(root: psutil.Process) -> float:
    """Of a process and all its children, those included that have ended."""
    return sum(_of_process(each) for each in _tree(root))


def _of_process(process: psutil.Process) -> float:
    try:
        return sum(process.cpu_times()[:4])
    except psutil.NoSuchProcess:  # it has ended since it was listed, and its parent has its time
        return 0.0


def memory_mb(server: Server) -> float:
    if server.process is None:
        return 0.0
    return sum(each.memory_info().rss for each in _tree(server.process)) / 2**20


def _tree(root: psutil.Process) -> list[psutil.Process]:
    return [root, *root.children(recursive=True)]


@contextmanager
def watching_connections(name: str) -> Iterator[Peak]:
    peak, ended = Peak(), threading.Event()

    def watch() -> None:
        with database.counting_connections(name) as count:
            while not ended.wait(LOOK_EVERY_SECONDS):
                peak.value = max(peak.value, count())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def wait_until_at_rest(groups: Groups, latency_seconds: float) -> None:
    """Requests whose client has left are still worked on. They must not cost the next contestant.

    Raises: SystemExit, when they are worked on for longer than `REST_SECONDS_MAX`.
    """
    window = LOOK_EVERY_SECONDS + latency_seconds
    deadline = time.monotonic() + REST_SECONDS_MAX
    while time.monotonic() < deadline:
        before = _working_seconds(groups)
        time.sleep(window)
        if _working_seconds(groups) - before < AT_REST * window:
            return
    raise SystemExit("The processes under measurement do not come to rest")
