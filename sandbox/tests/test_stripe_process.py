"""The process: how it starts, how it refuses to, and that it never outlives its use."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from sandbox.stripe.control import StandIn
from sandbox.stripe.process import ROOT, StandInFailed, running_stand_in
from sandbox.tests.conftest import client_of

COMMAND = [sys.executable, "-m", "sandbox.stripe"]


def start(*arguments, keep=("--memory",), **options):
    return subprocess.Popen(
        [*COMMAND, *keep, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_within_a_second_even_while_an_answer_is_held_back(signal_number):
    with start("--port", "0") as process:
        line = process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:")
        stand_in = StandIn(line.removeprefix("listening on ").strip())
        stand_in.add_fault("stall", seconds=60)
        with socket.create_connection(("127.0.0.1", int(line.rpartition(":")[2]))) as connection:
            connection.sendall(
                b"GET /v1/customers HTTP/1.1\r\nAuthorization: Bearer sk_test_x\r\n\r\n"
            )
            while stand_in.faults()[0]["fired"] == 0:
                pass
            process.send_signal(signal_number)
            stdout, stderr = process.communicate(timeout=1)
    assert (process.returncode, stdout, stderr) == (0, "", "")


def test_a_port_that_the_stand_in_finds_taken_is_one_clear_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with start("--port", str(port)) as process:
            stdout, stderr = process.communicate(timeout=10)
    assert process.returncode == 1
    assert stdout == ""
    assert stderr.count("\n") == 1
    assert f"port {port}" in stderr
    assert "in use" in stderr


def test_a_folder_in_use_is_one_clear_line(tmp_path, capfd):
    with (
        running_stand_in(tmp_path),
        pytest.raises(StandInFailed),
        running_stand_in(tmp_path),
    ):
        pass
    stderr = capfd.readouterr().err
    assert stderr == f"stripe stand-in: another stand-in is using {tmp_path}\n"


def test_a_damaged_file_is_one_clear_line(tmp_path, capfd):
    (tmp_path / "stand-in.sqlite3").write_text("not a database\n" * 100)
    with pytest.raises(StandInFailed), running_stand_in(tmp_path):
        pass
    stderr = capfd.readouterr().err
    assert stderr.count("\n") == 1
    assert "not a database" in stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_one_that_stands_by_takes_the_place_of_one_that_ends(tmp_path, number):
    keep, port = ["--data", str(tmp_path)], str(free_port())
    with start("--port", port, keep=keep) as first:
        first.stdout.readline()
        stand_in = StandIn(f"http://127.0.0.1:{port}")
        customer = client_of(stand_in).v1.customers.create({"source": "tok_visa"})
        with start("--port", port, "--stand-by", keep=keep) as second:
            assert "this one starts when that has ended" in second.stdout.readline()
            first.send_signal(number)
            assert second.stdout.readline().startswith("listening on ")

            assert client_of(stand_in).v1.customers.retrieve(customer.id).id == customer.id
            second.terminate()


def test_one_that_stands_by_waits_for_a_port_too():
    with running_stand_in() as other:
        port = other.base_url.rpartition(":")[2]
        with start("--port", port, "--stand-by") as process:
            assert f"cannot listen on port {port}" in process.stdout.readline()
            os.kill(other.pid, signal.SIGKILL)
            assert process.stdout.readline().startswith("listening on ")
            process.terminate()


def test_it_ends_with_the_block():
    with running_stand_in() as stand_in:
        assert stand_in.is_healthy()
    assert not stand_in.is_healthy()


def test_it_dies_with_a_parent_that_was_killed():
    script = (
        "from sandbox.stripe.process import running_stand_in\n"
        "with running_stand_in() as stand_in:\n"
        "    print(stand_in.base_url, flush=True)\n"
        "    input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        stand_in = StandIn(parent.stdout.readline().strip())
        assert stand_in.is_healthy()
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while stand_in.is_healthy():
        assert time.monotonic() < deadline


def test_a_port_is_free_again_at_once():
    with running_stand_in() as first:
        port = int(first.base_url.rpartition(":")[2])
    with running_stand_in(port=port) as second:
        assert second.base_url == first.base_url
        assert second.is_healthy()


def test_a_latency_by_flag_holds_for_every_call():
    with start("--port", "0", "--latency", "0.2") as process:
        stand_in = StandIn(process.stdout.readline().removeprefix("listening on ").strip())
        started = time.monotonic()
        client_of(stand_in).v1.customers.list()
        assert time.monotonic() - started >= 0.2
        process.terminate()


def test_it_knows_nothing_of_django():
    script = (
        "import sys\n"
        "import sandbox.stripe.__main__, sandbox.stripe.process\n"
        "assert 'django' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
