"""The simulator against the real API, and its end by time and by signal."""

import io
import itertools
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from django.core.management import CommandError, call_command

from idempotency.models import IdempotencyKey
from rides import payments
from rides.management.commands import simulator
from rides.models import Ride, User
from rides.simulation import clients
from rides.simulation.clients import RIDER, Simulation
from rides.simulation.tally import Tally, percentile
from rides.tests.factories import RiderFactory

PAUSING = {clients.__file__, threading.__file__}
"""The code in which a simulation waits between two clients."""


@pytest.fixture
def api(live_server, stand_in, settings) -> str:
    """The address of the API, with the rider that the simulator books for."""
    settings.DEMO_AUTH = True
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "AUTHENTICATE": "rides.authentication.demo_rider",
    }
    customer_id = payments.create_customer(email=RIDER, source="tok_visa")
    RiderFactory(email=RIDER, stripe_customer_id=customer_id)
    return live_server.url


def simulate(url: str, *, failures: float, retries: float, until: str, at_least: int = 5) -> dict:
    """Run until a count is high enough, then stop as a signal would; return the counts."""
    simulation = Simulation(url=url, failures=failures, retries=retries)

    def stop_when_enough() -> None:
        if counts(simulation.tally).get(until, 0) >= at_least:
            simulation.stop()

    simulation.run(rate=50, seconds=20, on_progress=stop_when_enough)
    return counts(simulation.tally)


def counts(tally: Tally) -> dict[str, int]:
    return {name: int(n) for name, n in (part.split("=") for part in tally.line().split())}


def test_clients_that_do_not_fail_book_rides(api, stand_in):
    answered = simulate(api, failures=0, retries=0, until="201")

    assert answered["201"] == answered["requests"] >= 5
    assert answered["replays"] == 0
    assert len(stand_in.charges()) == Ride.objects.count() == answered["201"]


def test_a_service_that_does_not_know_the_rider_is_named(api):
    User.objects.filter(email=RIDER).delete()
    asked = ["--url", api, "--rate", "50", "--duration", "20"]

    with pytest.raises(CommandError, match=f"refuses the rider {RIDER}"):
        call_command("simulator", *asked, stdout=io.StringIO())


def test_the_first_client_comes_when_somebody_listens(api, stand_in):
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        late = f"http://127.0.0.1:{door.getsockname()[1]}"
        simulation = Simulation(url=late, failures=0, retries=0)
        running = threading.Thread(
            target=simulation.run,
            kwargs={"rate": 50, "seconds": 1, "on_progress": lambda: None},
        )
        running.start()
        time.sleep(1)
        assert simulation.tally.line().startswith("requests=0")
        door.listen()
        door.settimeout(10)
        asking, _ = door.accept()  # what finds out that somebody listens
        client, _ = door.accept()
        with asking, client:
            assert asking.recv(1) == b""
            assert client.recv(4) == b"POST"
        simulation.stop()
    running.join(10)


def test_a_simulation_that_is_stopped_waits_for_nobody():
    simulation = Simulation(url="http://127.0.0.1:1", failures=0, retries=0)
    simulation.stop()
    began_at = time.monotonic()

    simulation.run(rate=50, seconds=20, on_progress=lambda: None)

    assert time.monotonic() - began_at < 5


@pytest.mark.timeout(30)
def test_a_signal_stops_a_simulation_at_whatever_line_it_arrives(silent_api):
    for line in range(1, 25):
        simulation = Simulation(
            url=f"http://127.0.0.1:{silent_api.getsockname()[1]}", failures=0, retries=0
        )
        lines = itertools.count(1)

        def stop_at_the_line(frame, *_, simulation=simulation, lines=lines, line=line):
            if frame.f_code.co_filename in PAUSING and next(lines) == line:
                simulation.stop()  # in this thread, as a handler would
            return stop_at_the_line

        began_at = time.monotonic()
        sys.settrace(stop_at_the_line)
        try:
            simulation.run(rate=0.01, seconds=10, on_progress=lambda: None)
        finally:
            sys.settrace(None)
        assert time.monotonic() - began_at < 5


def test_clients_that_fail_and_do_not_retry_leave_their_keys_unfinished(api, stand_in):
    answered = simulate(api, failures=1, retries=0, until="500")

    assert answered["500"] == answered["requests"] >= 5
    assert stand_in.charges() == []
    points = set(IdempotencyKey.objects.values_list("recovery_point", flat=True))
    assert points == {"ride_created"}


def test_clients_that_retry_book_once_and_see_the_replay(api, stand_in):
    answered = simulate(api, failures=0, retries=1, until="replays")

    assert answered["replays"] >= 5
    assert answered["201"] == answered["requests"]
    assert len(stand_in.charges()) == Ride.objects.count() == IdempotencyKey.objects.count()
    assert answered["201"] == Ride.objects.count() + answered["replays"]


def test_an_api_that_goes_away_is_waited_for():
    listener = socket.create_server(("127.0.0.1", 0))
    nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def leave_when_somebody_came() -> None:
        with listener:
            listener.accept()[0].close()

    threading.Thread(target=leave_when_somebody_came).start()
    answered = simulate(nobody, failures=0, retries=0, until="no_answer")

    assert set(answered) == {"requests", "no_answer", "replays"}
    assert answered["no_answer"] == answered["requests"] >= 5


# The command, as a process.


@pytest.fixture
def silent_api():
    """A server that accepts every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield listener


def start_simulator(url: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "simulator", "--url", url, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_within_five_seconds_with_its_table(silent_api, number):
    process = start_simulator(f"http://127.0.0.1:{silent_api.getsockname()[1]}", "--rate", "50")
    ready, _, _ = select.select([silent_api], [], [], 20)
    assert ready, "the simulator sent nothing"

    os.kill(process.pid, number)
    signalled_at = time.monotonic()
    output, errors = process.communicate(timeout=20)

    assert time.monotonic() - signalled_at < 5
    assert process.returncode == 0, errors
    assert output.splitlines()[0].split() == [
        *("answer", "count", "share"),
        *("p50", "ms", "p95", "ms", "p99", "ms"),
    ]
    assert "Traceback" not in errors


def test_its_duration_ends_it_too(api):
    process = start_simulator(api, "--duration", "1", "--rate", "20", "--failures", "0")
    output, errors = process.communicate(timeout=30)

    assert process.returncode == 0, errors
    assert re.search(r"^201 Created +\d+ +100\.0% +[\d.]+ +[\d.]+ +[\d.]+$", output, re.MULTILINE)
    assert re.search(r"^\d+ requests in \d\.\d s, [\d.]+ a second$", output, re.MULTILINE)
    assert re.search(r"^\d+ of the answers were replays$", output, re.MULTILINE)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--rate", "0"], "argument --rate: 0 is not greater than 0"),
        (["--rate", "fast"], "argument --rate: invalid positive value: 'fast'"),
        (["--duration", "-1"], "argument --duration: -1 is not greater than 0"),
        (["--failures", "1.1"], "argument --failures: 1.1 is not a share from 0 to 1"),
        (["--retries", "nan"], "argument --retries: nan is not a share from 0 to 1"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options, reason):
    parser = simulator.Command().create_parser("manage.py", "simulator")

    with pytest.raises(CommandError, match=f"^Error: {reason}$"):
        parser.parse_args(options)


def test_the_defaults_are_the_originals(settings):
    options = simulator.Command().create_parser("manage.py", "simulator").parse_args([])

    assert options.rate == 2  # so a request every 0 to 1 seconds
    assert options.failures == 0.5
    assert options.retries == 0
    assert options.url == f"http://127.0.0.1:{settings.PORT}"


# The table.


def test_the_table_shows_answers_with_their_latencies():
    tally = Tally()
    for milliseconds in range(1, 100):
        tally.count("201", milliseconds / 1000)
    tally.count("no answer", 1.5)
    tally.count_replay()

    rows = tally.table().splitlines()

    assert rows[1].split() == ["201", "Created", "99", "99.0%", "50.0", "95.0", "99.0"]
    assert rows[2].split() == ["no", "answer", "1", "1.0%", "1500.0", "1500.0", "1500.0"]
    assert rows[-1] == "1 of the answers were replays"


def test_the_table_of_nothing_has_no_rows():
    assert len(Tally().table().splitlines()) == 3


@pytest.mark.parametrize(("q", "value"), [(50, 2.0), (95, 4.0), (99, 4.0), (1, 1.0)])
def test_a_percentile_is_one_of_the_values(q, value):
    assert percentile([1.0, 2.0, 3.0, 4.0], q) == value
