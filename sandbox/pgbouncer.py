"""A PgBouncer in transaction mode before the embedded PostgreSQL: Debian's program, for tests.

Apart from the server, because only `python -m sandbox pooled` has it. What the service needs for
a pooler is in `VARIABLES` and in the configuration below, and docs/scaling.md says why.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg2

from sandbox import elsewhere, postgres

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")
PORT = 6432  # only a part of the socket's name
POOL_SIZE = 20
START_TIMEOUT_SECONDS = 10

# A commit need not reach the disk, as in the other tests; the limits are those of the settings.
CONFIGURATION = """
[databases]
* = host='{server}' port={server_port} user=postgres connect_query='{session}'

[pgbouncer]
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 1000
auth_type = any
unix_socket_dir = {folder}
listen_port = {port}
logfile = {folder}/log
"""
SESSION = (
    "SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '30s';"
    " SET synchronous_commit = off"
)


@contextlib.contextmanager
def running(data_dir: Path) -> Iterator[dict[str, str]]:
    """Run a PgBouncer before the server in `data_dir`; yield the variables that lead through it.

    Raises: PostgresUnavailable, with the reason.
    """
    if PROGRAM is None:
        raise postgres.PostgresUnavailable("pgbouncer is not installed")
    data_dir = data_dir.resolve()
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        process = subprocess.Popen(  # noqa: S603
            [PROGRAM, str(write_configuration(folder, data_dir))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until_it_answers(process, folder)
            yield variables(folder, data_dir)
        finally:
            process.send_signal(signal.SIGTERM)  # at once; SIGINT would wait for its clients
            process.wait()


def write_configuration(folder: Path, data_dir: Path) -> Path:
    """Like PostgreSQL, it refuses to be root."""
    configuration = CONFIGURATION.format(
        server=data_dir,
        server_port=postgres.PORT,
        session=SESSION.replace("'", "''"),
        pool_size=POOL_SIZE,
        folder=folder,
        port=PORT,
    )
    if os.geteuid() == 0:
        elsewhere.give_to_servers_user(folder)
        configuration += f"user = {elsewhere.SERVERS_USER}\n"
    path = folder / "pgbouncer.ini"
    path.write_text(configuration)
    return path


def variables(folder: Path, data_dir: Path) -> dict[str, str]:
    """Return the service's variables for a pooler; and for the tests, the way around it."""
    direct = {"host": data_dir, "port": postgres.PORT, "options": "-c lock_timeout=10s"}
    return {
        "DATABASE_URL": f"{url(folder)}&disable_server_side_cursors=true",
        "DATABASE_SESSION_OPTIONS": "",
        "DIRECT_DATABASE_URL": (
            f"postgresql://postgres@/{postgres.DATABASE}?{urlencode(direct, quote_via=quote)}"
        ),
    }


def url(folder: Path) -> str:
    place = urlencode({"host": folder, "port": PORT}, quote_via=quote)
    return f"postgresql://postgres@/{postgres.DATABASE}?{place}"


def wait_until_it_answers(process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            psycopg2.connect(url(folder), connect_timeout=5).close()
        except psycopg2.OperationalError:
            time.sleep(0.05)
        else:
            return
    log = folder / "log"
    words = log.read_text() if log.exists() else f"exit code {process.poll()}"
    raise postgres.PostgresUnavailable(f"pgbouncer does not answer: {' '.join(words.split())}")
