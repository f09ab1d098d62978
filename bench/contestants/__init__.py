"""Who is measured: each is a module that says what it is and how it is asked."""

from typing import Protocol

from bench.contestants.dbos import DBOS, DBOS_PINNED
from bench.contestants.floor import Floor
from bench.contestants.ours import OURS, OURS_PINNED, REPLAYS, WSGI
from bench.contestants.packaged import PACKAGED
from bench.contestants.plain import PLAIN
from bench.contestants.psycopg import OURS_PSYCOPG
from bench.contestants.unsafe import UNSAFE
from bench.load import Answers
from bench.world import Server, World


class Contestant(Protocol):
    """What the benchmark needs of one. One that does not ask Stripe is measured at 0 ms only."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def asks_stripe(self) -> bool: ...

    @property
    def expected(self) -> str:
        """The status of a good answer."""

    @property
    def load_generator(self) -> str:
        """The program that asks, by its name or its path."""

    def server(self, world: World) -> Server:
        """Where it is asked. Raises: Missing."""

    def load(self, server: Server, *, clients: int, latency_ms: int, seconds: int) -> Answers: ...

    def ask(self, server: Server, times: int) -> None:
        """Ask `times` times, one after the other, and nothing else."""


CONTESTANTS: tuple[Contestant, ...] = (
    OURS,
    UNSAFE,  # right after it, so that whatever drifts has the least time to
    OURS_PINNED,
    OURS_PSYCOPG,
    WSGI,
    REPLAYS,
    PLAIN,
    DBOS,
    DBOS_PINNED,
    PACKAGED,
    Floor("floor", "the floor: pgbench, simple protocol", "simple"),
    Floor("floor-prepared", "the floor with prepared statements", "prepared", asks_stripe=False),
)
