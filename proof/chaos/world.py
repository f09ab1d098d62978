"""The world that chaos happens to: a PostgreSQL, a Stripe stand-in, and the service's processes.

All of it is the run's own, in a folder of its own. Whatever of the service dies is started again,
as an operating system's supervisor would.
"""

import contextlib
import itertools
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import psutil  # type: ignore[import-untyped]
import psycopg2

from idempotency.tests.ledger import Ledger, running_ledger
from proof.chaos.pair import Pair
from proof.chaos.patroni import Cluster
from rocketrides.environment import BASE_DIR
from sandbox import supervisor
from sandbox.stripe.control import StandIn
from sandbox.stripe.process import running_stand_in
from sandbox.supervisor import Running

SERVICES = ("api", "completer", "enqueuer", "worker", "reaper")
LEVELS = ("SERIALIZABLE", "READ COMMITTED")
LOOK_AFTER_SECONDS = 0.1
FREEZE_SECONDS = 6.5  # longer than a lease

TERMINATE_SOME = """
SELECT count(pg_terminate_backend(pid))
  FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
   AND backend_type = 'client backend' AND random() < %s
"""


@dataclass
class World:
    """What the nemeses get their hands on."""

    folder: Path
    stand_in: StandIn
    ledger: Ledger
    port: int
    pair: Pair | Cluster
    home: Path = BASE_DIR
    """Where the service's code is."""
    processes: dict[str, Running] = field(default_factory=dict)
    kills: int = 0
    restarts_of_postgres: int = 0
    reversals: dict[str, str] = field(default_factory=dict)
    """The refunds of the dashboard and the disputes, by id, with the status that each has."""
    foreign_faults: int = 0
    levels: dict[str, Iterator[str]] = field(
        default_factory=lambda: {service: itertools.cycle(LEVELS) for service in SERVICES}
    )
    """Each service's every other start is at the strictest level, so that both are in the run."""
    ending: threading.Event = field(default_factory=threading.Event)
    counting: threading.Lock = field(default_factory=threading.Lock)
    hands: dict[str, threading.Lock] = field(
        default_factory=lambda: {service: threading.Lock() for service in SERVICES}
    )
    """One at a time: whom a freeze has stopped, that one wakes and is not killed in its sleep."""

    @property
    def database_url(self) -> str:
        return self.pair.url

    def environment(self) -> dict[str, str]:
        return supervisor.environment() | {
            "DJANGO_SETTINGS_MODULE": "proof.chaos.settings",
            "DATABASE_URL": self.database_url,
            "STRIPE_API_KEY": "sk_test_sandbox",
            "STRIPE_API_BASE": self.stand_in.base_url,
            "LEDGER_URL": self.ledger.url,
            "EMAIL_URL": "dummymail://",
            # Whatever the tests around this one may do without: here the server really goes down.
            "DATABASE_SESSION_OPTIONS": "-c idle_in_transaction_session_timeout=30s "
            "-c lock_timeout=10s -c synchronous_commit=on",
            "PORT": str(self.port),
            "API_QUEUE_SECONDS": "20",  # its crowds are to be served, however slow the machine
            "STOP_GRACE_SECONDS": "1",  # shorter than some calls, so that they are abandoned
        }

    # The service.

    def start(self, service: str) -> None:
        isolation = {"PROOF_ISOLATION": next(self.levels[service])}
        with (self.folder / f"{service}.log").open("ab") as log:
            self.processes[service] = supervisor.start(
                supervisor.commands(self.home / "Procfile")[service],
                self.environment() | isolation,
                cwd=self.home,
                output=log,
            )

    def look_after(self) -> None:
        """Start what has died, until the run ends."""
        while not self.ending.wait(LOOK_AFTER_SECONDS):
            for service in SERVICES:
                if not self.ending.is_set() and not self.processes[service].is_running():
                    self.start(service)

    def signal(self, service: str, number: signal.Signals) -> None:
        self.processes[service].send(number)

    def kill(self, service: str) -> None:
        """End it and all its children at once, as a power cut would."""
        with self.hands[service]:
            self.signal(service, signal.SIGKILL)
            self.kills += 1

    def stop(self, service: str) -> None:
        """Ask it to end; it is started again once it has."""
        with self.hands[service]:
            self.processes[service].process.terminate()

    def kill_child(self, service: str, which: int) -> None:
        """End one worker process of a server, which then starts another."""
        with self.hands[service], contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.processes[service].process.pid).children(recursive=True)
            if children:
                children[which % len(children)].kill()
                self.kills += 1

    def freeze(self, service: str) -> None:
        """Stop it past its leases, and let it go on as if nothing had happened."""
        with self.hands[service]:
            self.signal(service, signal.SIGSTOP)
            self.ending.wait(FREEZE_SECONDS)
            self.signal(service, signal.SIGCONT)

    def end_faults(self) -> None:
        """Stripe is well again, and so is the ledger; how many calls went wrong is remembered."""
        with self.counting:  # or two at once would count the same calls
            self.foreign_faults += sum(fault["fired"] for fault in self.stand_in.faults())
            self.stand_in.clear_faults()
        self.ledger.faults.clear()

    # The database.

    def restart_postgres(self) -> None:
        assert isinstance(self.pair, Pair)
        self.pair.restart()
        self.restarts_of_postgres += 1

    def terminate_backends(self, share: float) -> None:
        with contextlib.closing(psycopg2.connect(self.database_url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(TERMINATE_SOME, [share])

    def log_of_postgres(self) -> str:
        return self.pair.log()


@contextlib.contextmanager
def running_world(folder: Path, port: int, pair: Pair | Cluster | None = None) -> Iterator[World]:
    """PostgreSQL, the stand-in and the ledger; the service's processes come with `serving`."""
    with running_stand_in() as stand_in, running_ledger() as ledger:
        world = World(folder, stand_in, ledger, port, pair or Pair(folder))
        try:
            world.pair.start()
            yield world
        finally:
            world.pair.stop()


@contextlib.contextmanager
def serving(world: World) -> Iterator[None]:
    """Have the service's processes run for the block, whatever happens to them in it."""
    for service in SERVICES:
        world.start(service)
    guardian = threading.Thread(target=world.look_after)
    guardian.start()
    try:
        yield
    finally:
        world.ending.set()
        guardian.join()
        for service in SERVICES:
            world.processes[service].kill()


def leave(number: int, frame: FrameType | None) -> None:
    """End as after Ctrl-C, with everything that was started."""
    raise KeyboardInterrupt
