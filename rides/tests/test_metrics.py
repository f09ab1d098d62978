"""`/metrics`, as Prometheus reads it: from one process, and from all of a machine."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from django.db import OperationalError, connection, transaction
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from idempotency.models import IdempotencyKey
from idempotency.watching import latest
from rides.tests import processes
from rides.tests.booking import CHARGING, KEY, RIDER, ask, book
from rides.tests.processes import running_api, running_command
from sandbox.supervisor import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

TOKEN = "of-the-demo"
SHOWN = {"Authorization": f"Bearer {TOKEN}"}
OPERATION = "rides.CreateRide"


def numbers(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(text: str, name: str, **labels: str) -> float:
    return numbers(text).get((name, frozenset(labels.items())), 0.0)


@pytest.fixture
def shown(client):
    return lambda: client.get("/metrics", headers=SHOWN).content.decode()


def test_what_happens_is_counted(shown, stand_in):
    request = {"operation": OPERATION, "source": "client"}
    name = "idempotency_request_seconds_count"
    before = shown()
    ask()
    ask()
    stand_in.add_fault("error_before", times=1, path=CHARGING)
    ask(f"{KEY}-2")
    after = shown()

    def grew(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert grew(name, **request, outcome="201") == 1
    assert grew(name, **request, outcome="replayed") == 1
    assert grew(name, **request, outcome="outcome_unknown") == 1
    phase = {"operation": OPERATION, "phase": "charge_rider"}
    assert grew("idempotency_phase_seconds_count", **phase) == 1
    assert grew("idempotency_failures_total", operation=OPERATION, code="outcome_unknown") == 1
    assert grew("idempotency_foreign_answers_total", operation=OPERATION, status="500") >= 1
    assert grew("idempotency_claims_total", event="claimed") == 2
    assert value(after, "idempotency_open", what="unknown") == 1
    assert value(after, "idempotency_oldest_seconds", what="unknown") > 0
    assert value(after, "idempotency_workers_alive", worker="completer") == 0
    assert value(after, "idempotency_database_up") == 1


@pytest.mark.parametrize(
    "heads",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer \u00e9"},
    ],
)
def test_whoever_does_not_show_the_token_finds_nothing(client, heads):
    assert client.get("/metrics", headers=heads).status_code == 404


def test_without_a_token_there_is_no_such_address(client, settings):
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "METRICS_TOKEN": ""}

    assert client.get("/metrics", headers=SHOWN).status_code == 404
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404


def test_while_the_database_is_away_that_is_a_number_too(shown, monkeypatch):
    def fail() -> None:
        raise OperationalError("away")

    monkeypatch.setattr(latest, "standing", fail)

    assert value(shown(), "idempotency_database_up") == 0
    assert "idempotency_request_seconds" in shown()


def test_while_the_database_hangs_a_scrape_is_answered_and_one_thread_waits(shown, monkeypatch):
    monkeypatch.setattr(latest, "PATIENCE_SECONDS", 0.2)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE idempotency_idempotencykey IN ACCESS EXCLUSIVE MODE")
        hanging = [shown() for _ in range(3)]
        waiting = [thread for thread in threading.enumerate() if thread.name == "reading"]

    assert [value(text, "idempotency_database_up") for text in hanging] == [0, 0, 0]
    assert all("idempotency_open{" not in text for text in hanging)
    assert len(waiting) == 1
    waiting[0].join(PATIENCE_SECONDS)
    assert value(shown(), "idempotency_database_up") == 1


def test_no_client_makes_a_series(shown, client):
    def ask_oddly(number: int) -> None:
        odd = f"odd-{number}"
        client.generic(f"ODD{number}", "/rides", headers={"Authorization": odd})
        client.post(f"/rides?{odd}", {odd: odd}, headers={"Authorization": odd})
        client.post("/rides", odd, odd, headers={"Authorization": odd, "Idempotency-Key": odd})
        client.post("/rides", {odd: odd}, headers={"Authorization": RIDER, "Idempotency-Key": odd})
        client.get(f"/rides/{odd}", headers={"Authorization": odd, "X-Request-Id": odd})

    ask_oddly(0)
    before = numbers(shown()).keys()
    for number in range(1, 20):
        ask_oddly(number)

    assert numbers(shown()).keys() == before
    assert "odd-" not in shown()


def test_no_key_and_no_rider_is_in_the_numbers(shown):
    ask()

    assert KEY not in shown()
    assert "@example.com" not in shown()
    assert REGISTRY is not None


def test_all_processes_of_a_machine_are_added_up(stand_in, tmp_path: Path, monkeypatch):
    folder = tmp_path / "metrics"
    folder.mkdir()
    shared = {**processes.environment(stand_in), "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    monkeypatch.setattr(processes, "environment", lambda _: shared)
    with running_api(stand_in, tmp_path) as api:
        for number in range(12):
            assert book(api.url, f"{KEY}-{number}").status_code == 201
        with running_command("enqueuer", "--once", stand_in=stand_in, folder=tmp_path) as enqueuer:
            assert enqueuer.process.wait(30) == 0
        worker = ("db_worker", "--queue-name", "*", "--batch", "--no-reload", "--no-startup-delay")
        with running_command(*worker, stand_in=stand_in, folder=tmp_path) as working:
            assert working.process.wait(30) == 0
        read = {
            requests.get(f"{api.url}/metrics", headers=SHOWN, timeout=10).text for _ in range(8)
        }

    booked = {"operation": OPERATION, "source": "client", "outcome": "201"}
    done = {"job_name": "rides.tasks.send_ride_receipt", "outcome": "done"}
    for text in read:  # whichever of the API's two processes has answered
        assert value(text, "idempotency_request_seconds_count", **booked) == 12
        assert value(text, "idempotency_job_seconds_count", **done) == 12


def test_an_api_that_has_too_much_to_do_refuses_no_scrape_and_counts_what_it_refused(
    stand_in, tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("API_THREADS", "1")
    monkeypatch.setenv("API_QUEUE", "0")
    one_process = processes.GRANIAN.replace("--workers 2", "--workers 1")
    with running_api(stand_in, tmp_path, one_process) as api, ThreadPoolExecutor(1) as client:
        stand_in.add_fault("latency", seconds=2, path=CHARGING)
        first = client.submit(book, api.url)
        wait_until(IdempotencyKey.objects.exists)

        assert book(api.url, f"{KEY}-2").json()["code"] == "overloaded"
        scrape = requests.get(f"{api.url}/metrics", headers=SHOWN, timeout=PATIENCE_SECONDS)

        assert not first.done()
        assert value(scrape.text, "idempotency_refusals_total", code="overloaded") == 1
        assert requests.get(f"{api.url}/metrics", timeout=PATIENCE_SECONDS).status_code == 404
