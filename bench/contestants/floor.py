"""The floor: pgbench, executing a ride's writes and nothing else (`floor.sql`).

No service, no HTTP, no Stripe, in the fewest transactions that are safe. What is left to gain once
the service costs nothing is the distance to this.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import database
from bench.load import RIDERS, Answers
from bench.world import TEMPLATE, Server, World
from sandbox import postgres

DATABASE = "rocketrides_bench_floor"
PGBENCH = postgres.PROGRAMS / "pgbench"
SCRIPT = Path(__file__).with_name("floor.sql")
RATE = re.compile(r"tps = ([0-9.]+) \(without initial connection time\)")
LATENCY_COLUMN = 2  # of pgbench's log, in microseconds


@dataclass(frozen=True)
class Floor:
    """pgbench with one of PostgreSQL's two protocols: psycopg2 speaks the simple one."""

    name: str
    title: str
    protocol: str
    asks_stripe: bool = True
    expected: str = "201"
    load_generator: str = str(PGBENCH)

    def server(self, world: World) -> Server:
        return world.server(floor_database)

    def load(self, server: Server, *, clients: int, latency_ms: int, seconds: int) -> Answers:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            printed = self._pgbench(
                server.database,
                latency_ms,
                f"--client={clients}",
                f"--time={seconds}",
                "--log",
                f"--log-prefix={log}",
            )
            took_ms = sorted(_latencies_ms(log.parent.iterdir()))
        rate = RATE.search(printed)
        assert rate is not None, printed
        return Answers(
            seconds=len(took_ms) / float(rate[1]),
            statuses={"201": len(took_ms)},
            p50_ms=_percentile(took_ms, 0.50),
            p95_ms=_percentile(took_ms, 0.95),
            p99_ms=_percentile(took_ms, 0.99),
        )

    def ask(self, server: Server, times: int) -> None:
        self._pgbench(server.database, 0, "--client=1", f"--transactions={times}")

    def _pgbench(self, name: str, stripe_ms: int, *options: str) -> str:
        result = subprocess.run(
            [
                self.load_generator,
                "--no-vacuum",
                f"--protocol={self.protocol}",
                f"--file={SCRIPT}",
                f"--define=riders={RIDERS}",
                f"--define=stripe_ms={stripe_ms}",
                *options,
                database.url(name),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout


@contextmanager
def floor_database(world: World) -> Iterator[Server]:
    with database.created(DATABASE, template=TEMPLATE):
        yield Server(DATABASE)


def _latencies_ms(logs: Iterator[Path]) -> Iterator[float]:
    for log in logs:
        for line in log.read_text().splitlines():
            yield int(line.split()[LATENCY_COLUMN]) / 1000


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
