"""Real processes are seen: what they count, that they are there, and that one of them is not."""

from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from django.db.models import Sum

from idempotency.models import Heartbeat, Rollup
from idempotency.watching.standing import standing
from rides.tests import processes
from rides.tests.booking import book
from rides.tests.processes import WORKERS, Running, running_api, running_command

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]


@pytest.fixture
def running(stand_in, tmp_path: Path, monkeypatch):
    """The API and the workers, each with a pulse a second."""
    beating = {**processes.environment(stand_in), "PULSE_SECONDS": "1"}
    monkeypatch.setattr(processes, "environment", lambda _: beating)
    with ExitStack() as stack:
        running: dict[str, Running] = {"api": stack.enter_context(running_api(stand_in, tmp_path))}
        for name, command in WORKERS.items():
            started = running_command(*command, stand_in=stand_in, folder=tmp_path)
            running[name] = stack.enter_context(started)
        yield running


def alive() -> set[str]:
    return {worker.name for worker in standing().workers if worker.is_alive}


def counted(**which: str) -> int:
    rows = Rollup.objects.filter(span="hour", **which).aggregate(all=Sum("count"))
    return rows["all"] or 0


def test_all_of_them_are_seen_with_what_they_last_did_and_one_that_is_killed_is_dead(running):
    for number in range(5):
        assert book(running["api"].url, f"a-key-that-is-long-enough-{number}").status_code == 201
        assert book(running["api"].url, f"a-key-that-is-long-enough-{number}").status_code == 201

    for _ in range(3):
        assert requests.post(f"{running['api'].url}/rides", timeout=10).status_code == 401

    processes.wait_until(lambda: alive() == {"api", *WORKERS})
    processes.wait_until(lambda: counted(what="request") == 10)
    assert counted(what="request", outcome="replayed") == 5
    processes.wait_until(lambda: counted(what="refusal") == 3)
    assert counted(what="refusal", name="unauthenticated") == 3
    assert counted(what="phase", name="charge_rider") == 5
    assert counted(what="answer", outcome="200") == 5
    processes.wait_until(lambda: counted(what="job", outcome="done") == 5)
    last = {worker.name: worker.last for worker in standing().workers}
    assert last["worker"] == "rides.tasks.send_ride_receipt: done"
    assert last["enqueuer"].startswith("enqueued=")

    running["completer"].kill()
    killed = Heartbeat.objects.get(worker="completer")
    Heartbeat.objects.filter(pk=killed.pk).update(seen_at=killed.seen_at - timedelta(seconds=50))
    assert any(alarm.startswith("completer: dead") for alarm in standing().alarms)

    running["reaper"].process.terminate()
    running["reaper"].process.wait(30)
    assert not Heartbeat.objects.filter(worker="reaper").exists()
    assert "reaper: not running" in standing().alarms


def test_those_that_have_had_nothing_to_do_yet_are_seen(running):
    processes.wait_until(lambda: alive() == {"api", *WORKERS})
