"""How many rides a site carries, from what one ride was measured to cost: a simulation.

    python -m bench.capacity --service-ms 2.0 --postgres-ms 1.2 [--flush-ms 0.3] [--stripe-ms 300]

The costs are the columns of `make bench`: milliseconds of processor time for one ride at Stripe's
zero latency. Rides arrive at random, wait for a thread, a core or a connection when all are taken,
and wait for Stripe. For each site the highest rate is sought at which 99 of 100 are answered within
a tenth of a second beyond Stripe's own time.
"""

import random
import statistics
from argparse import ArgumentParser
from collections.abc import Generator
from dataclasses import dataclass

import simpy

RIDES = 20_000
TRANSACTIONS = 2
SECONDS_A_DAY = 86_400
STEPS = 7  # of the search: the rate is known to a hundredth
PATIENCE_SECONDS = 0.1

# https://docs.stripe.com/rate-limits: an account's in live mode, and one endpoint's unless Stripe
# grants more. A ride is one call of one endpoint.
STRIPE_ACCOUNT, STRIPE_ENDPOINT = 100, 25

Events = Generator[simpy.Event, None, None]


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Of one ride, in seconds."""

    service: float
    postgres: float
    flush: float
    stripe: float


@dataclass(frozen=True, kw_only=True)
class Site:
    """Machines: their cores, and how many rides may be under way. No cores: those of PostgreSQL."""

    name: str
    service_cores: int | None
    postgres_cores: int
    threads: int
    connections: int


def one_machine(name: str, *, threads: int, connections: int) -> Site:
    return Site(
        name=name, service_cores=None, postgres_cores=2, threads=threads, connections=connections
    )


SITES = (  # each machine as the Procfile has it: two processes of 128 threads and 8 connections
    one_machine("one machine of 2 cores", threads=256, connections=16),
    Site(
        name="2 machines, and PostgreSQL on 2 cores",
        service_cores=4,
        postgres_cores=2,
        threads=512,
        connections=32,
    ),
    Site(
        name="4 machines, and PostgreSQL on 4 cores",
        service_cores=8,
        postgres_cores=4,
        threads=1024,
        connections=64,
    ),
)


class Simulation:
    """A site under a steady load."""

    def __init__(self, site: Site, costs: Costs, rate: float) -> None:
        self.site, self.costs, self.rate = site, costs, rate
        self.chance = random.Random(1)  # the same arrivals each time
        self.took: list[float] = []
        self.now = simpy.Environment()
        self.threads = simpy.Resource(self.now, site.threads)
        self.connections = simpy.Resource(self.now, site.connections)
        self.postgres = simpy.Resource(self.now, site.postgres_cores)
        self.service = (
            simpy.Resource(self.now, site.service_cores) if site.service_cores else self.postgres
        )

    def run(self) -> list[float]:
        """How long each ride took, in seconds, once the site has got into its stride."""
        self.now.process(self._arrivals())
        self.now.run()
        return self.took[RIDES // 2 :]

    def _arrivals(self) -> Events:
        for _ in range(RIDES):
            yield self.now.timeout(self.chance.expovariate(self.rate))
            self.now.process(self._ride())

    def _ride(self) -> Events:
        arrived_at = self.now.now
        with self.threads.request() as thread:
            yield thread
            yield from self._work(self.service, self.costs.service / 2)
            yield from self._transaction()
            yield self.now.timeout(self.costs.stripe)  # the connection is given back meanwhile
            yield from self._transaction()
            yield from self._work(self.service, self.costs.service / 2)
        self.took.append(self.now.now - arrived_at)

    def _transaction(self) -> Events:
        with self.connections.request() as connection:
            yield connection
            yield from self._work(self.postgres, self.costs.postgres / TRANSACTIONS)
            yield self.now.timeout(self.costs.flush)  # one flush may serve many commits

    def _work(self, cores: simpy.Resource, seconds: float) -> Events:
        with cores.request() as core:
            yield core
            yield self.now.timeout(self.chance.expovariate(1 / seconds))


def carries(site: Site, costs: Costs, rate: float) -> bool:
    p99 = statistics.quantiles(Simulation(site, costs, rate).run(), n=100)[-1]
    return p99 <= costs.stripe + PATIENCE_SECONDS


def limit_of(site: Site, costs: Costs) -> tuple[float, str]:
    """What no site can exceed, in rides a second, and what of it is used up then."""
    under_way = costs.service + costs.postgres + TRANSACTIONS * costs.flush + costs.stripe
    service = costs.service if site.service_cores else costs.service + costs.postgres
    limits = {
        "the service's cores": (site.service_cores or site.postgres_cores) / service,
        "PostgreSQL's cores": site.postgres_cores / costs.postgres,
        "threads": site.threads / under_way,
        "connections": site.connections / (costs.postgres + TRANSACTIONS * costs.flush),
    }
    scarce = min(limits, key=lambda name: limits[name])
    return limits[scarce], scarce


def highest_rate(site: Site, costs: Costs) -> float:
    """In rides a second, sought by halving from the limit down."""
    low, high = 0.0, limit_of(site, costs)[0]
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if carries(site, costs, middle) else (low, middle)
    return low


def main() -> None:
    costs, peak = _options()
    print("| site | threads | connections | rides a second | used up first | rides a day |")
    print("| --- | ---: | ---: | ---: | --- | ---: |")
    for site in SITES:
        rate, (_, scarce) = highest_rate(site, costs), limit_of(site, costs)
        print(
            f"| {site.name} | {site.threads:,} | {site.connections} | {rate:,.0f} | {scarce} "
            f"| {_a_day(rate, peak)} |"
        )
    for name, rate in (("one endpoint", STRIPE_ENDPOINT), ("an account", STRIPE_ACCOUNT)):
        print(f"| Stripe's limit of {name} | | | {rate} | Stripe | {_a_day(rate, peak)} |")


def _a_day(rate: float, peak: float) -> str:
    return f"{rate * SECONDS_A_DAY / peak / 1_000_000:.1f} million"


def _options() -> tuple[Costs, float]:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--service-ms", type=float, required=True)
    parser.add_argument("--postgres-ms", type=float, required=True)
    parser.add_argument("--flush-ms", type=float, default=0.3)
    parser.add_argument("--stripe-ms", type=float, default=300)
    parser.add_argument("--peak", type=float, default=3, help="the busiest second, in averages")
    given = parser.parse_args()
    costs = Costs(
        service=given.service_ms / 1000,
        postgres=given.postgres_ms / 1000,
        flush=given.flush_ms / 1000,
        stripe=given.stripe_ms / 1000,
    )
    return costs, given.peak


if __name__ == "__main__":
    main()
