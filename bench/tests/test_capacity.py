"""The simulation against what can be said without one."""

import statistics

import pytest

from bench import capacity
from bench.capacity import Costs, Simulation, highest_rate, limit_of, one_machine

COSTS = Costs(service=0.002, postgres=0.001, flush=0.0005, stripe=0.3)
ALONE = 0.002 + 0.001 + 2 * 0.0005 + 0.3  # seconds


@pytest.fixture(autouse=True)
def few_rides(monkeypatch):
    monkeypatch.setattr(capacity, "RIDES", 2000)


def test_a_site_with_little_to_do_takes_what_its_parts_take():
    site = one_machine("idle", threads=8, connections=8)

    took = Simulation(site, COSTS, rate=1).run()

    assert statistics.mean(took) == pytest.approx(ALONE, rel=0.01)


def test_few_threads_are_all_waiting_for_stripe():
    site = one_machine("few threads", threads=8, connections=8)

    limit, scarce = limit_of(site, COSTS)

    assert (limit, scarce) == (pytest.approx(8 / ALONE), "threads")
    assert 0.4 * limit < highest_rate(site, COSTS) < limit


def test_with_enough_threads_the_cores_are_used_up():
    site = one_machine("many threads", threads=512, connections=20)

    limit, scarce = limit_of(site, COSTS)

    assert (limit, scarce) == (pytest.approx(2 / 0.003), "the service's cores")
    assert 0.8 * limit < highest_rate(site, COSTS) < limit
