"""The API's workers, as the Procfile runs them, keep to a core each with all of their threads."""

import os

import psutil
import pytest

from rides.tests.processes import Api

CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
WORKERS = 2

pytestmark = pytest.mark.skipif(
    len(CORES) < WORKERS, reason=f"needs {WORKERS} cores and a system that binds processes to them"
)


@pytest.mark.django_db(transaction=True)
def test_every_thread_of_a_worker_keeps_to_the_workers_own_core(api: Api) -> None:
    workers = psutil.Process(api.process.pid).children()

    allowed = [
        {core for thread in worker.threads() for core in os.sched_getaffinity(thread.id)}
        for worker in workers
    ]

    assert [len(cores) for cores in allowed] == [1] * WORKERS
    assert set.union(*allowed) <= CORES
    assert len(set.union(*allowed)) == WORKERS
