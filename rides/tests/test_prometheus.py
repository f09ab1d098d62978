"""The rules and the dashboard of deploy/, before a Prometheus that reads real processes: an alert
fires once one of them is killed, and every query of the dashboard finds what it is for.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
import yaml

from idempotency.models import Heartbeat
from idempotency.watching.standing import DEAD_AFTER
from rides.tests.booking import CHARGING, KEY, book
from rides.tests.processes import WORKERS, Running, running_api, running_command
from rides.tests.scraping import (
    FOLDER,
    MISSING,
    PROGRAM,
    QUERIES,
    RULES,
    TOOL,
    Prometheus,
    checked,
    configured,
    running_prometheus,
)
from sandbox.supervisor import wait_until

pytestmark = pytest.mark.skipif(not (PROGRAM and TOOL), reason=MISSING)

ALL = "sum(idempotency_request_seconds_count)"


# promtool.


def test_debians_prometheus_takes_rules_and_configuration(tmp_path: Path):
    assert checked("check", "rules", "alerts.yml").returncode == 0
    assert checked("check", "config", configured(tmp_path, 5000, "token")).returncode == 0


def test_each_alert_fires_when_it_should_and_not_before():
    ran = checked("test", "rules", "alerts.test.yml")

    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", [rule["alert"] for rule in RULES])
@pytest.mark.parametrize("changed", [{"for": "0s"}, {"expr": "vector(1) > 2"}], ids=["for", "expr"])
def test_an_alert_that_fires_too_soon_or_never_is_noticed(tmp_path: Path, name, changed):
    rules = [rule | changed if rule["alert"] == name else rule for rule in RULES]
    written = {"groups": [{"name": "all", "rules": rules}]}
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(written))
    (tmp_path / "alerts.test.yml").write_text((FOLDER / "alerts.test.yml").read_text())

    ran = checked("test", "rules", "alerts.test.yml", folder=tmp_path)

    assert f"alertname: {name}" in ran.stdout + ran.stderr
    assert ran.returncode == 1


# Prometheus.


@pytest.fixture
def running(
    riders, transactional_db, stand_in, tmp_path: Path, monkeypatch
) -> Iterator[dict[str, Running]]:
    """The API and the workers, which share a folder of numbers and have a pulse a second."""
    folder = tmp_path / "numbers"
    folder.mkdir()
    monkeypatch.setenv("PULSE_SECONDS", "1")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    with ExitStack() as stack:
        started: dict[str, Running] = {"api": stack.enter_context(running_api(stand_in, tmp_path))}
        for name, command in WORKERS.items():
            one = running_command(*command, stand_in=stand_in, folder=tmp_path)
            started[name] = stack.enter_context(one)
        yield started


@pytest.fixture
def prometheus(running, tmp_path: Path) -> Iterator[Prometheus]:
    configuration = configured(tmp_path, running["api"].port, "of-the-demo")
    with running_prometheus(tmp_path, configuration) as prometheus:
        yield prometheus


def workers_without_alert(prometheus: Prometheus) -> bool:
    alive = prometheus.found("idempotency_workers_alive > 0")
    return len(alive) == len(WORKERS) + 1 and not prometheus.firing()


def test_an_alert_fires_while_a_worker_is_dead(running, prometheus, stand_in, tmp_path: Path):
    wait_until(lambda: workers_without_alert(prometheus))

    running["completer"].kill()
    killed = Heartbeat.objects.get(worker="completer")
    # What passes in 45 seconds.
    Heartbeat.objects.filter(pk=killed.pk).update(seen_at=killed.seen_at - DEAD_AFTER)
    wait_until(lambda: prometheus.firing() == {("WorkerNotRunning", "completer")})

    with running_command("completer", stand_in=stand_in, folder=tmp_path):
        wait_until(lambda: workers_without_alert(prometheus))


def test_every_query_of_the_dashboard_finds_what_it_is_for(running, prometheus, stand_in):
    url = running["api"].url
    wait_until(lambda: workers_without_alert(prometheus))
    for round_ in range(3):  # a rate is of two looks at least, with something between
        for number in range(4):
            assert book(url, f"{KEY}-{round_}-{number}").status_code == 201
        assert book(url, f"{KEY}-{round_}-0").headers["Idempotent-Replayed"] == "true"
        stand_in.add_fault("error_before", times=1, path=CHARGING)
        assert book(url, f"{KEY}-{round_}-unknown").status_code == 503
        assert requests.post(f"{url}/rides", timeout=30).status_code == 401
        wait_until(lambda so_far=6 * round_ + 6: prometheus.found(ALL) == {frozenset(): so_far})

    missing = list(QUERIES)

    def all_find() -> bool:
        missing[:] = [query for query in missing if not found_by(prometheus, query)]
        return not missing

    try:
        wait_until(all_find)
    except AssertionError:
        pytest.fail(f"These find nothing: {missing}")


def found_by(prometheus: Prometheus, query: str) -> bool:
    """Say whether a query finds numbers, as Grafana asks it."""
    for variable, value in (("$__rate_interval", "1m"), ("$operation", ".*")):
        query = query.replace(variable, value)
    assert "$" not in query
    return any(value == value for value in prometheus.found(query).values())
