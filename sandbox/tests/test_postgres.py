"""The embedded server: whoever starts it, whoever dies, there is one, and nothing is lost."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest

from rocketrides.environment import BASE_DIR
from sandbox import elsewhere, postgres

SLOW_CHECKPOINT_SECONDS = 22  # it was given up after 20

STARTER = """
import sys
from pathlib import Path
from sandbox.postgres import database_url
print(database_url(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def new_dir() -> Iterator[Path]:
    """A folder that is not there yet; its path is short enough for a socket, and has a space."""
    folder = Path(tempfile.mkdtemp(prefix="p g"))
    yield folder / "data"
    postgres.stop(folder / "data")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def made_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="p g"))
    postgres.database_url(folder / "data")
    postgres.stop(folder / "data")
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture
def data_dir(new_dir: Path, made_dir: Path) -> Path:
    """The folder of a server that was stopped; a copy, because making one takes half a second."""
    subprocess.run(["cp", "-a", made_dir, new_dir], check=True)
    return new_dir


def query(url: str, sql: str) -> str:
    """Return the first column of the first row, or nothing."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(sql)
        found = str(cursor.fetchone()[0]) if cursor.description else ""
    connection.close()
    return found


def server(data_dir: Path) -> psutil.Process:
    found = postgres.server_process(data_dir)
    assert found
    return found


def child_named(name: str, process: psutil.Process) -> psutil.Process:
    for child in process.children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a session's process that has just ended
            if name in child.cmdline()[0]:
                return child
    raise AssertionError(f"{process} has no {name}")


def has_ended(process: psutil.Process) -> bool:
    # In a container whose first process reaps nothing, an ended one stays as a zombie.
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def starter(data_dir: Path) -> subprocess.Popen[str]:
    """A process of its own, in a group of its own, that has the server run and stays."""
    return subprocess.Popen(
        [sys.executable, "-c", STARTER, str(data_dir)],
        cwd=BASE_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_it_is_made_on_the_first_call_and_found_on_the_next(new_dir: Path) -> None:
    url = postgres.database_url(new_dir)
    first = server(new_dir).pid

    assert postgres.database_url(new_dir) == url
    assert server(new_dir).pid == first
    assert query(url, "SELECT current_database()") == "rocketrides"
    assert query(url, "SHOW listen_addresses") == ""


def test_only_its_owner_may_enter_its_folder(data_dir: Path) -> None:
    postgres.database_url(data_dir)

    assert data_dir.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_it_survives_the_end_of_the_group_that_started_it(
    data_dir: Path, signum: signal.Signals
) -> None:
    process = starter(data_dir)
    url = said(process)
    os.killpg(process.pid, signum)
    process.communicate(timeout=10)

    assert process.returncode == -signum
    assert query(url, "SELECT 1") == "1"


def test_several_starters_at_once_start_one(new_dir: Path) -> None:
    processes = [starter(new_dir) for _ in range(4)]
    urls = [said(process) for process in processes]
    for process in processes:
        process.communicate(timeout=10)

    assert urls == [postgres.url(new_dir, "rocketrides")] * 4
    assert (new_dir / "log").read_text().count("starting PostgreSQL") == 1


def test_stop_ends_it_and_the_data_is_there_at_the_next_start(data_dir: Path) -> None:
    url = postgres.database_url(data_dir)
    query(url, "CREATE TABLE rides AS SELECT 7 AS id")
    ended = server(data_dir)
    postgres.stop(data_dir)

    assert has_ended(ended)
    assert query(postgres.database_url(data_dir), "SELECT id FROM rides") == "7"


@pytest.mark.timeout(120)
def test_stop_waits_for_a_last_checkpoint_that_takes_its_time(data_dir: Path) -> None:
    postgres.database_url(data_dir)
    ended = server(data_dir)
    checkpointer = child_named("checkpointer", ended)
    checkpointer.suspend()
    waking = threading.Timer(SLOW_CHECKPOINT_SECONDS, checkpointer.resume)
    waking.start()

    postgres.stop(data_dir)

    waking.join()
    assert has_ended(ended)


def test_stop_without_a_server_does_nothing(new_dir: Path) -> None:
    postgres.stop(new_dir)

    assert not new_dir.exists()


def test_a_killed_server_is_started_again_with_what_was_committed(data_dir: Path) -> None:
    query(postgres.database_url(data_dir), "CREATE TABLE rides AS SELECT 7 AS id")
    server(data_dir).kill()

    assert query(postgres.database_url(data_dir), "SELECT id FROM rides") == "7"


def test_a_pid_file_whose_number_is_another_process_s_is_no_obstacle(data_dir: Path) -> None:
    postgres.database_url(data_dir)
    pid_file = data_dir / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    postgres.stop(data_dir)
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    shutil.copystat(data_dir / "PG_VERSION", pid_file)

    assert query(postgres.database_url(data_dir), "SELECT 1") == "1"


def test_stop_never_signals_another_process_that_has_the_number(new_dir: Path) -> None:
    new_dir.mkdir()
    (new_dir / "postmaster.pid").write_text(f"{os.getpid()}\n")

    postgres.stop(new_dir)  # PostgreSQL's own pg_ctl would interrupt this very process


def test_a_half_made_folder_of_a_killed_start_is_no_obstacle(new_dir: Path) -> None:
    unfinished = new_dir.parent / "data.unfinished"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")

    assert query(postgres.database_url(new_dir), "SELECT 1") == "1"


def test_it_ends_after_its_last_user(data_dir: Path) -> None:
    with postgres.in_use(data_dir):
        with postgres.in_use(data_dir):
            process = server(data_dir)
        assert not has_ended(process)

    assert has_ended(process)


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(postgres.PostgresUnavailable) as refusal:
        postgres.database_url(tmp_path / "file" / "data")

    assert str(refusal.value).startswith("PostgreSQL cannot run: ")
    assert "\n" not in str(refusal.value)


def test_a_path_too_long_for_a_socket_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(postgres.PostgresUnavailable, match="too long for a socket"):
        postgres.database_url(tmp_path / ("long" * 25))


only_for_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's server is another user's")


@only_for_root
def test_root_opens_the_folder_around_the_data_for_passing_through_and_no_more(
    new_dir: Path,
) -> None:
    assert new_dir.parent.stat().st_mode & 0o777 == 0o700
    postgres.database_url(new_dir)

    assert new_dir.parent.stat().st_mode & 0o777 == 0o701
    assert server(new_dir).username() == "nobody"


@only_for_root
def test_root_keeps_a_closed_home_closed_and_the_data_lies_where_the_server_may_enter(
    new_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    home = new_dir.parent
    data_dir = home / "project/.local/postgres"
    monkeypatch.setattr(elsewhere, "ROOMS", [room := Path(tempfile.mkdtemp(prefix="var-lib"))])
    room.chmod(0o755)
    try:
        query(postgres.database_url(data_dir), "CREATE TABLE rides AS SELECT 7 AS id")
        assert home.stat().st_mode & 0o777 == 0o700
        assert data_dir.resolve().is_relative_to(room)
        assert f"may not enter {home}" in capfd.readouterr().err

        postgres.stop(data_dir)
        assert query(postgres.database_url(data_dir), "SELECT id FROM rides") == "7"
        assert capfd.readouterr().err == ""
    finally:
        postgres.stop(data_dir)
        shutil.rmtree(room)


def test_a_shell_that_leads_libpq_elsewhere_does_not_lead_ours(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGSERVICE", "PGHOST", "PGOPTIONS", "PGSSLMODE", "PGREQUIREAUTH"):
        monkeypatch.setenv(name, "of another project")

    assert query(postgres.database_url(data_dir), "SELECT 1") == "1"


def test_a_path_that_libpq_and_a_shell_misread_has_its_data_elsewhere_and_says_so(
    new_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(elsewhere, "ROOMS", [new_dir.parent])
    new_dir.parent.chmod(0o711)
    data_dir = new_dir.parent / 'a, b "$(touch c)`' / "postgres"
    url = postgres.database_url(data_dir)

    assert query(url, "CREATE TABLE rides AS SELECT 7 AS id") == ""
    assert f"PostgreSQL's data lies in {data_dir.resolve()}" in capfd.readouterr().err
    assert postgres.database_url(data_dir) == url
    postgres.stop(data_dir)
    assert query(postgres.database_url(data_dir), "SELECT id FROM rides") == "7"
    postgres.stop(data_dir)


def test_a_quote_and_other_alphabets_in_the_path_are_no_obstacle(new_dir: Path) -> None:
    assert query(postgres.database_url(new_dir.parent / "l'été 日本"), "SELECT 1") == "1"
    postgres.stop(new_dir.parent / "l'été 日本")


def test_a_user_without_a_name_is_told_what_helps_in_one_line(
    new_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    with pytest.raises(postgres.PostgresUnavailable, match="user 54321 has no name") as refusal:
        postgres.database_url(new_dir)

    assert "/etc/passwd" in str(refusal.value)
