"""`/metrics`, as Prometheus reads it: from one process, and from all of a machine."""

from pathlib import Path

import pytest
import requests
from django.db import OperationalError
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from idempotency.watching import metrics
from rides.tests import processes
from rides.tests.booking import CHARGING, KEY, ask, book
from rides.tests.processes import running_api, running_command

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

    monkeypatch.setattr(metrics, "standing", fail)

    assert value(shown(), "idempotency_database_up") == 0
    assert "idempotency_request_seconds" in shown()


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
    done = {"job": "rides.tasks.send_ride_receipt", "outcome": "done"}
    for text in read:  # whichever of the API's two processes has answered
        assert value(text, "idempotency_request_seconds_count", **booked) == 12
        assert value(text, "idempotency_job_seconds_count", **done) == 12
