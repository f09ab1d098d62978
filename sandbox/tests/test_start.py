"""`make start`, really started: what answers, what ends, what stays."""

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import psutil
import pytest

from rocketrides.environment import BASE_DIR
from sandbox import postgres
from sandbox.stripe.control import StandIn

PLACES = {"origin_lat": "0.0", "origin_lon": "0.0", "target_lat": "0.0", "target_lon": "0.0"}
# Set to nothing, so that no .env of the developer's sets them.
UNCONFIGURED = dict.fromkeys(["DATABASE_URL", "STRIPE_API_KEY", "STRIPE_API_BASE"], "")
START_WITHIN_SECONDS = 60  # on a machine that has other things to do
END_WITHIN_SECONDS = 5
START = [sys.executable, "-m", "sandbox", "start"]

# A shell that was made for another project, behind a company's proxy that knows no way back.
ANOTHER_SHELL = {
    **{"DJANGO_SETTINGS_MODULE": "other.settings", "PYTHONSAFEPATH": "1", "PYTHONPATH": "/nowhere"},
    **{"PGSERVICE": "other", "PGHOST": "db.invalid", "PGSSLMODE": "verify-full", "PGUSER": "other"},
    **dict.fromkeys(["http_proxy", "https_proxy", "HTTP_PROXY"], "http://127.0.0.1:9"),
    **{"no_proxy": "example.com", "PYTEST_ADDOPTS": "--nonsense", "PIP_USER": "1"},
}


@dataclass(frozen=True)
class Demo:
    """A demo that was started; its lines are in `log`."""

    process: psutil.Popen
    environment: dict[str, str]
    log: Path

    @property
    def data_dir(self) -> Path:
        return Path(self.environment["LOCAL_DIR"]) / "postgres"

    def everything(self) -> list[psutil.Process]:
        """Return each process that the demo consists of, PostgreSQL included."""
        server = postgres.server_process(self.data_dir)
        assert server
        return [self.process, server, *self.process.children(recursive=True)]

    @property
    def stand_in(self) -> StandIn:
        return StandIn(f"http://127.0.0.1:{self.environment['SANDBOX_STRIPE_PORT']}")

    def book(self, key: str, rider: str = "user@example.com") -> http.client.HTTPResponse:
        port = int(self.environment["PORT"])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        headers = {"Authorization": rider, "Idempotency-Key": key}
        content = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/rides", urlencode(PLACES), headers | content)
        return connection.getresponse()


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """A folder and ports of its own, used by nobody else."""
    folder = Path(tempfile.mkdtemp(prefix="demo"))
    ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    api, stand_in = [str(port.getsockname()[1]) for port in ports]
    for port in ports:
        port.close()
    addresses = {"LOCAL_DIR": str(folder), "PORT": api, "SANDBOX_STRIPE_PORT": stand_in}
    # Without what spares the other tests the wait for the disk: a PostgreSQL is killed here, and
    # an answer that was given must be there.
    ours = {name: os.environ[name] for name in os.environ if name != "DATABASE_SESSION_OPTIONS"}
    yield {**ours, **UNCONFIGURED, **addresses}
    postgres.stop(folder / "postgres")
    shutil.rmtree(folder)


@contextlib.contextmanager
def running_demo(
    environment: dict[str, str], command: Sequence[str] = START, project: Path = BASE_DIR
) -> Iterator[Demo]:
    """Start the demo as the Makefile does, wait for its last line, and leave nothing of it."""
    log = Path(environment["LOCAL_DIR"]) / f"lines of {environment['PORT']}"
    with log.open("w") as lines:
        process = psutil.Popen(
            command,
            cwd=project,
            env=environment,
            stdout=lines,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    demo = Demo(process, environment, log)
    try:
        wait_until(lambda: "Ctrl-C ends everything" in log.read_text(), log, START_WITHIN_SECONDS)
        yield demo
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
        process.wait(10)


def wait_until(holds: Callable[[], bool], log: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def has_ended(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


def remaining(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that still run after five seconds."""
    _, alive = psutil.wait_procs(processes, timeout=END_WITHIN_SECONDS)
    return [process for process in alive if not has_ended(process)]


def test_it_says_where_to_look_ends_in_five_seconds_and_goes_on_at_the_next_start(
    environment: dict[str, str],
) -> None:
    key = str(uuid.uuid4())
    with running_demo(environment) as demo:
        first = demo.book(key)
        answer = (first.status, first.read())
        everything = demo.everything()
        demo.process.terminate()

        assert answer[0] == 201
        assert remaining(everything) == []
    with running_demo(environment) as demo:
        replay = demo.book(key)
        everything = demo.everything()
        os.killpg(demo.process.pid, signal.SIGINT)  # as Ctrl-C in a terminal

        assert (replay.status, replay.read()) == answer
        assert replay.headers["Idempotent-Replayed"] == "true"
        assert remaining(everything) == []

    lines = demo.log.read_text()
    address = f"http://127.0.0.1:{environment['PORT']}"
    assert f"curl -i -X POST {address}/rides" in lines
    assert re.search(rf"{address}/admin/ .*admin@example.com, password rocket", lines)
    assert "KeyboardInterrupt" not in lines


def test_a_payment_that_its_rider_confirms_is_told_of_by_a_webhook(
    environment: dict[str, str],
) -> None:
    """The API is asked and answers from its row; by itself it would ask Stripe after 30 s."""
    key, rider = str(uuid.uuid4()), "user-3ds@example.com"
    with running_demo(environment) as demo:
        assert demo.book(key, rider).status == 202
        told = demo.stand_in.events("payment_intent.requires_action")
        demo.stand_in.settle(told[-1]["object"], succeeds=True)
        wait_until(lambda: demo.book(key, rider).status == 201, demo.log, seconds=25)

        ended = demo.stand_in.events("payment_intent.succeeded")
        assert [each["answers"] for each in ended if each["object"] == told[-1]["object"]] == [
            [200]
        ]


def test_it_ends_in_five_seconds_while_stripe_takes_longer_and_the_retry_goes_on_at_once(
    environment: dict[str, str],
) -> None:
    key = str(uuid.uuid4())
    with running_demo(environment) as demo, ThreadPoolExecutor(1) as client:
        stand_in = StandIn(f"http://127.0.0.1:{environment['SANDBOX_STRIPE_PORT']}")
        stand_in.add_fault("latency", seconds=6, path="POST /v1/payment_intents")
        answer = client.submit(demo.book, key)
        wait_until(lambda: stand_in.calls()["calls"].get("POST /v1/payment_intents"), demo.log)
        everything = demo.everything()
        demo.process.terminate()

        assert answer.result().status == 503
        assert remaining(everything) == []
    with running_demo(environment) as demo:
        assert demo.book(key).status == 201


def test_a_killed_api_is_started_again(environment: dict[str, str]) -> None:
    with running_demo(environment) as demo:
        [api] = [
            process
            for process in demo.process.children(recursive=True)
            if "granian" in " ".join(process.cmdline()) and process.pid == os.getpgid(process.pid)
        ]
        api.kill()
        wait_until(lambda: "started again" in demo.log.read_text(), demo.log)
        wait_until(lambda: answers(demo), demo.log)


def test_a_killed_postgresql_is_started_again_and_keeps_what_it_had(
    environment: dict[str, str],
) -> None:
    key = str(uuid.uuid4())
    with running_demo(environment) as demo:
        first = demo.book(key)
        answer = (first.status, first.read())
        server = postgres.server_process(demo.data_dir)
        assert server
        server.kill()
        wait_until(
            lambda: "PostgreSQL has exited; it is started again" in demo.log.read_text(), demo.log
        )
        wait_until(lambda: answers(demo), demo.log)
        replay = demo.book(key)
        everything = demo.everything()
        demo.process.terminate()

        assert answer[0] == 201
        assert (replay.status, replay.read()) == answer
        assert server not in everything
        assert remaining(everything) == []


def answers(demo: Demo) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return demo.book(str(uuid.uuid4())).status == 201
    return False


def test_a_killed_demo_leaves_no_process_and_the_next_start_goes_on(
    environment: dict[str, str],
) -> None:
    key = str(uuid.uuid4())
    with running_demo(environment) as demo:
        first = demo.book(key)
        answer = (first.status, first.read())
        server = postgres.server_process(demo.data_dir)
        others = [process for process in demo.everything() if process != server]
        demo.process.kill()

        assert remaining(others) == []
        wait_until(lambda: has_ended(server), demo.log)  # its last checkpoint takes its time
    with running_demo(environment) as demo:
        replay = demo.book(key)
        assert (replay.status, replay.read()) == answer


@pytest.fixture
def project() -> Iterator[Path]:
    """A copy of this project in a folder that is called as a folder may be called."""
    parent = Path(tempfile.mkdtemp(prefix="demo"))
    project = parent / "prôjekt, 日本"
    besides = shutil.ignore_patterns(".venv*", ".local", ".env", ".git", ".*cache", "__pycache__")
    shutil.copytree(BASE_DIR, project, ignore=besides)
    yield project
    data_dir = project / ".local/postgres"
    postgres.stop(data_dir)
    if data_dir.is_symlink():
        shutil.rmtree(data_dir.resolve().parent)
    shutil.rmtree(parent)


@pytest.mark.timeout(120)
def test_the_two_commands_work_in_a_folder_of_any_name_behind_a_proxy_in_another_projects_shell(
    environment: dict[str, str], project: Path
) -> None:
    hostile = {**environment, **ANOTHER_SHELL, "LOCAL_DIR": str(project / ".local")}
    installed = [f"VENV={sys.prefix}", f"--assume-old={sys.prefix}/installed-"]
    make = ["make", "--no-print-directory", *installed]
    one_test = "one-test: ; $(PYTEST) -p no:cacheprovider -k startup_options rocketrides"
    (project / ".local").mkdir()
    with running_demo(hostile, [*make, "start"], project) as demo:
        assert demo.book(str(uuid.uuid4())).status == 201
        tested = subprocess.run(
            [*make, f"--eval={one_test}", "one-test"],
            cwd=project,
            env=hostile,
            capture_output=True,
            text=True,
            check=False,
        )

        assert "1 passed" in tested.stdout, tested.stderr


def test_an_environment_whose_python_is_gone_is_built_anew(tmp_path: Path) -> None:
    shutil.copy(BASE_DIR / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").touch()
    python = tmp_path / ".venv/bin/python"
    default = ["VENV=.venv", "REQUIREMENTS=requirements.txt"]  # whatever this was called with
    make = ["make", f"PYTHON={sys.executable}", *default, ".venv/installed-"]
    subprocess.run(make, cwd=tmp_path, check=True)
    python.unlink()
    python.symlink_to("/usr/bin/python-that-was-removed")

    subprocess.run(make, cwd=tmp_path, check=True)

    subprocess.run([python, "-m", "pip", "--version"], check=True)


def test_a_port_that_the_demo_finds_taken_is_one_clear_line(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", int(environment["PORT"]))):
        result = subprocess.run(
            [sys.executable, "-m", "sandbox", "start"],
            cwd=BASE_DIR,
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert f"Port {environment['PORT']} cannot be used" in line
    assert postgres.server_process(Path(environment["LOCAL_DIR"]) / "postgres") is None


@pytest.mark.parametrize("delay", [0.0, 0.9, 3.0])
def test_two_signals_at_once_end_a_demo_at_any_moment_of_its_start(
    environment: dict[str, str], delay: float
) -> None:
    """As `timeout 60 make start` sends them: from make, and to all of its group."""
    process = psutil.Popen(
        [sys.executable, "-m", "sandbox", "start"],
        cwd=BASE_DIR,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        while not handles_signals(process):
            time.sleep(0.01)
        time.sleep(delay)
        for _ in range(20):
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)

    process.wait(60)
    assert not [each for each in psutil.process_iter() if is_of(environment, each)]


def test_a_demo_that_is_killed_while_it_ends_leaves_no_process(environment: dict[str, str]) -> None:
    with running_demo(environment) as demo:
        server = postgres.server_process(demo.data_dir)
        others = [process for process in demo.everything() if process != server]
        demo.process.send_signal(signal.SIGTERM)
        demo.process.kill()

        assert remaining(others) == []


def test_two_demos_of_one_folder_end_one_by_one_and_the_other_keeps_its_stripe(
    environment: dict[str, str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as port:
        second_port = str(port.getsockname()[1])
    other = {**environment, "PORT": second_port}
    with running_demo(environment) as first, running_demo(other) as second:
        assert answers(second)
        first.process.send_signal(signal.SIGINT)
        first.process.wait(END_WITHIN_SECONDS)

        wait_until(lambda: "listening on" in second.log.read_text(), second.log)
        wait_until(lambda: answers(second), second.log)
        assert "this one starts when that has ended" in second.log.read_text()


def handles_signals(process: psutil.Process) -> bool:
    """Whether the interpreter is as far as `sandbox.__main__`, which takes both signals."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def is_of(environment: dict[str, str], process: psutil.Process) -> bool:
    """Whether it runs in that demo's folder; the kernel shows it to its owner only."""
    with contextlib.suppress(psutil.Error):
        return process.environ().get("LOCAL_DIR") == environment["LOCAL_DIR"]
    return False
