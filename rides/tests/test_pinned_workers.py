"""With `PIN_WORKERS` the API's workers keep to a core each with all of their threads."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rides.tests.processes import Api, running_api
from sandbox.stripe.control import StandIn

CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
WORKERS = 2

pytestmark = pytest.mark.skipif(
    len(CORES) < WORKERS, reason=f"needs {WORKERS} cores and a system that binds processes to them"
)


@pytest.fixture
def pinned_api(stand_in: StandIn, tmp_path: Path, monkeypatch) -> Iterator[Api]:
    monkeypatch.setenv("PIN_WORKERS", "true")
    with running_api(stand_in, tmp_path) as api:
        yield api


@pytest.mark.django_db(transaction=True)
def test_every_thread_of_a_worker_keeps_to_the_workers_own_core(pinned_api: Api) -> None:
    workers = psutil.Process(pinned_api.process.pid).children()

    allowed = [
        {core for thread in worker.threads() for core in os.sched_getaffinity(thread.id)}
        for worker in workers
    ]

    assert [len(cores) for cores in allowed] == [1] * WORKERS
    assert set.union(*allowed) <= CORES
    assert len(set.union(*allowed)) == WORKERS
