"""A primary of PostgreSQL with its standby, and a switchover from one to the other.

The service reaches the one that writes in one of two ways: by an address that moves (a symbolic
link to the folder of the socket), or by libpq's list of hosts.
"""

import contextlib
import os
import pwd
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psutil  # type: ignore[import-untyped]
import psycopg2

from sandbox import postgres
from sandbox.supervisor import wait_until

PATIENCE_SECONDS = 30.0
WRITERS_END_WITHIN_SECONDS = 2.0

WAL_RECEIVERS = "SELECT count(*) FROM pg_stat_wal_receiver"
KEYS = """
SELECT COALESCE(array_agg(concat(user_id, ' ', idempotency_key)), '{}')
  FROM idempotency_idempotencykey
"""

# Which transactions began before the server turned read-only, and could still commit.
OLDER_TRANSACTIONS = """
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start < %s
"""


@dataclass
class Pair:
    """Two servers in a folder. The standby is made when it is first needed."""

    folder: Path
    way: str = "address"
    switchovers: int = 0
    promoted_at: float = 0.0
    """When the last promotion began, by the monotonic clock."""

    changing: threading.Lock = field(default_factory=threading.Lock)
    """Whoever stops, starts or promotes a server holds it."""

    def __post_init__(self) -> None:
        self._servers = (self.folder / "a", self.folder / "b")
        self.primary = self._servers[0]

    @property
    def url(self) -> str:
        return self.url_of_both if self.way == "hosts" else self.url_of_the_address

    @property
    def restarts(self) -> tuple[Callable[[], None], ...]:
        return (self.restart, self.restart_in_good_order)

    def disasters(self, switchovers: int) -> Sequence[Callable[[], None]]:
        """What is to happen under load, each with a promotion."""
        return [self.switch_over] * switchovers

    @property
    def address(self) -> Path:
        return self.folder / "address"

    @property
    def url_of_the_address(self) -> str:
        return postgres.url(self.address, postgres.DATABASE)

    @property
    def url_of_both(self) -> str:
        place = {
            "host": f"{self.folder / 'a'},{self.folder / 'b'}",
            "port": postgres.PORT,
            "target_session_attrs": "read-write",
        }
        return f"postgresql://postgres@/{postgres.DATABASE}?{urlencode(place, quote_via=quote)}"

    def start(self) -> None:
        postgres.database_url(self.primary)
        self._lead_to(self.primary)

    def stop(self) -> None:
        for server in self._servers:
            postgres.stop(server)

    def log(self) -> str:
        logs = [self.folder / "retired.log", self.primary / "log"]
        return "".join(log.read_text(errors="replace") for log in logs if log.exists())

    def restart(self) -> None:
        """As after a power cut: no checkpoint, the log is replayed, and nobody was warned."""
        with self.changing:
            postgres.pg_ctl(self.primary, "stop", "--mode=immediate", "--timeout=20")
            postgres.database_url(self.primary)

    def restart_in_good_order(self) -> None:
        """As for a new version: connections are ended, the server is away for a moment."""
        with self.changing:
            postgres.stop(self.primary)
            postgres.database_url(self.primary)

    def switch_over(self) -> None:
        """The primary turns read-only and stays up, the standby is promoted, the address moves.

        Nothing that was acknowledged is lost, since the standby has it all by then: what is tried
        here is what becomes of the connections to the old primary.
        """
        with self.changing:
            old, new = self.primary, self._standby()
            try:
                self._end_writing(old)
                self._catch_up(old, new)
                self.promoted_at = time.monotonic()
                postgres.pg_ctl(new, "promote")
            except BaseException:  # the primary stays what it is
                ask(old, "ALTER SYSTEM RESET default_transaction_read_only")
                ask(old, "SELECT pg_reload_conf()")
                raise
            self._lead_to(new)
            self.primary = new
            self.switchovers += 1

    def lose_last_commits(self, *, behind_seconds: float) -> int:
        """Kill the primary with -9 while its standby is so far behind, and promote that one.

        Returns: how many keys are lost.
        """
        with self.changing:
            old, new = self.primary, self._standby()
            wait_until(lambda: ask(new, WAL_RECEIVERS) == 1)
            # What is committed from now on the standby never hears of.
            ask(new, "ALTER SYSTEM SET primary_conninfo = ''")
            ask(new, "SELECT pg_reload_conf()")
            wait_until(lambda: ask(new, WAL_RECEIVERS) == 0)
            time.sleep(behind_seconds)
            kept, written = ask_service(new, KEYS), ask_service(old, KEYS)
            kill_with_children(old)
            self.promoted_at = time.monotonic()
            postgres.pg_ctl(new, "promote")
            self._lead_to(new)
            self.primary = new
            return len(set(written) - set(kept))

    def _standby(self) -> Path:
        """Return a standby of the primary, in place of the server that was one before it."""
        [standby] = (server for server in self._servers if server != self.primary)
        if standby.exists():
            postgres.stop(standby)
            if (log := standby / "log").exists():
                with (self.folder / "retired.log").open("a") as kept:
                    kept.write(log.read_text(errors="replace"))
            shutil.rmtree(standby)
        standby.mkdir(mode=0o700)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(standby, nobody.pw_uid, nobody.pw_gid)
        postgres.run(
            "pg_basebackup",
            standby,
            f"--dbname={postgres.url(self.primary, postgres.DATABASE)}",
            "--checkpoint=fast",
            "--no-sync",
            "--write-recovery-conf",
        )
        (standby / "log").unlink(missing_ok=True)
        postgres.start(standby)
        return standby

    def _end_writing(self, server: Path) -> None:
        ask(server, "ALTER SYSTEM SET default_transaction_read_only = on")
        ask(server, "SELECT pg_reload_conf()")
        wait_until(lambda: ask(server, "SHOW default_transaction_read_only") == "on")
        began_at = ask(server, "SELECT clock_timestamp()")
        with contextlib.suppress(AssertionError):  # then they are ended
            wait_until(
                lambda: ask(server, f"SELECT count(*) {OLDER_TRANSACTIONS}", began_at) == 0,
                WRITERS_END_WITHIN_SECONDS,
            )
        ask(server, f"SELECT count(pg_terminate_backend(pid, 5000)) {OLDER_TRANSACTIONS}", began_at)

    def _catch_up(self, old: Path, new: Path) -> None:
        written = ask(old, "SELECT pg_current_wal_lsn()::text")
        wait_until(lambda: ask(new, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", written))

    def _lead_to(self, server: Path) -> None:
        """Move the address at one stroke: there is no moment without one."""
        link = self.folder / "address.new"
        link.symlink_to(server)
        link.replace(self.address)


def kill_with_children(server: Path) -> None:
    """End a server and all its processes at once, as a power cut would."""
    postmaster = psutil.Process(int((server / "postmaster.pid").read_text().split()[0]))
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=PATIENCE_SECONDS)


def ask_service(server: Path, statement: str) -> Any:
    """As `ask`, of the service's own database."""
    return ask_at(postgres.url(server, postgres.DATABASE), statement)


def ask(server: Path, statement: str, *values: Any) -> Any:
    """Return the first value that a server answers with, or None."""
    return ask_at(postgres.url(server, "postgres"), statement, *values)


def ask_at(url: str, statement: str, *values: Any) -> Any:
    with contextlib.closing(psycopg2.connect(url, connect_timeout=5)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            row = cursor.fetchone() if cursor.description else None
            return row and row[0]
