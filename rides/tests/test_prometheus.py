"""The rules and the dashboard of deploy/: Prometheus reads real processes, an alert fires once one is
killed, and every query of the dashboard finds what it is for.
"""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from prometheus_client import REGISTRY

from idempotency.console.overview import FAILED
from idempotency.exceptions import Indeterminate
from idempotency.models import Heartbeat
from idempotency.watching.metrics import StandingCollector
from idempotency.watching.standing import DEAD_AFTER, OLDEST, WORKERS
from rides.tests.booking import CHARGING, KEY, book
from rides.tests.processes import Running, running_api, running_command
from rides.tests.scraping import (
    DASHBOARD,
    FOLDER,
    MISSING,
    PROGRAM,
    TOOL,
    Prometheus,
    checked,
    configured,
    running_prometheus,
)
from rides.tests.test_seen_from_outside import WORKERS as COMMANDS
from rocketrides.refusals import Overloaded
from sandbox.supervisor import wait_until

needs_prometheus = pytest.mark.skipif(not (PROGRAM and TOOL), reason=MISSING)
real = [
    needs_prometheus,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("riders"),
]

Rule = dict[str, Any]

RULES: list[Rule] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
NAMES = [rule["alert"] for rule in RULES]
BY_NAME = dict(zip(NAMES, RULES, strict=True))
PANELS = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


# What needs no Prometheus.


def test_an_alert_fires_at_the_age_at_which_the_console_raises_its_alarm():
    ages = [re.fullmatch(r'max\(\w+\{what="(\w+)"\}\) > (\d+)', rule["expr"]) for rule in RULES]

    assert {age[1]: timedelta(seconds=int(age[2])) for age in ages if age} == OLDEST


def test_an_alert_looks_for_each_worker_and_says_how_long_one_is_dead():
    rule = BY_NAME["WorkerNotRunning"]

    assert tuple(re.findall(r'absent\(\w+\{worker="(\w+)"\}\)', rule["expr"])) == WORKERS
    assert f"{DEAD_AFTER.total_seconds():.0f} seconds" in rule["annotations"]["summary"]


def test_alerts_name_outcomes_and_codes_that_there_are():
    [failed] = re.findall(r'outcome=~"5\.\.\|([\w|]+)"', BY_NAME["RequestsFail"]["expr"])
    codes = [code for rule in RULES for code in re.findall(r'code="(\w+)"', rule["expr"])]

    assert {*failed.split("|"), "postponed"} == set(FAILED)  # that one is the completer's
    assert set(codes) == {Indeterminate.code, Overloaded.code}


def test_alerts_and_panels_ask_for_numbers_that_there_are():
    families = [*REGISTRY.collect(), *StandingCollector().collect()]
    ours = {family.name for family in families if family.name.startswith("idempotency_")}
    asked = " ".join([*QUERIES, *(rule["expr"] for rule in RULES)])
    found = {
        re.sub(r"_(total|bucket|count)$", "", name)
        for name in re.findall(r"idempotency_\w+", asked)
    }

    assert found == ours


def test_every_alert_says_how_bad_it_is_and_in_words_what_it_is_and_where_to_read_on():
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["runbook"].startswith("docs/operating.md#")


# promtool.


@needs_prometheus
def test_debians_prometheus_takes_rules_and_configuration(tmp_path: Path):
    assert checked("check", "rules", "alerts.yml").returncode == 0
    assert checked("check", "config", configured(tmp_path, 5000, "token")).returncode == 0


@needs_prometheus
def test_each_alert_fires_when_it_should_and_not_before():
    ran = checked("test", "rules", "alerts.test.yml")

    assert ran.returncode == 0, ran.stderr


@needs_prometheus
@pytest.mark.parametrize("name", NAMES)
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
def running(stand_in, tmp_path: Path, monkeypatch) -> Iterator[dict[str, Running]]:
    """The API and the workers, which share a folder of numbers and have a pulse a second."""
    folder = tmp_path / "numbers"
    folder.mkdir()
    monkeypatch.setenv("PULSE_SECONDS", "1")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    with ExitStack() as stack:
        started: dict[str, Running] = {"api": stack.enter_context(running_api(stand_in, tmp_path))}
        for name, command in COMMANDS.items():
            one = running_command(*command, stand_in=stand_in, folder=tmp_path)
            started[name] = stack.enter_context(one)
        yield started


@pytest.fixture
def prometheus(running, tmp_path: Path) -> Iterator[Prometheus]:
    configuration = configured(tmp_path, running["api"].port, "of-the-demo")
    with running_prometheus(tmp_path, configuration) as prometheus:
        yield prometheus


def workers_without_alert(prometheus: Prometheus) -> bool:
    alive = prometheus.found("idempotency_workers_alive == 1")
    return len(alive) == len(WORKERS) + 1 and not prometheus.firing()


class TestAgainstReal:
    pytestmark = real

    def test_an_alert_fires_while_a_worker_is_dead(
        self, running, prometheus, stand_in, tmp_path: Path
    ):
        wait_until(lambda: workers_without_alert(prometheus))

        running["completer"].kill()
        killed = Heartbeat.objects.get(worker="completer")
        # What passes in 45 seconds.
        Heartbeat.objects.filter(pk=killed.pk).update(seen_at=killed.seen_at - DEAD_AFTER)
        wait_until(lambda: prometheus.firing() == {("WorkerNotRunning", "completer")})

        with running_command("completer", stand_in=stand_in, folder=tmp_path):
            wait_until(lambda: workers_without_alert(prometheus))

    def test_every_query_of_the_dashboard_finds_what_it_is_for(self, running, prometheus, stand_in):
        url = running["api"].url
        wait_until(lambda: workers_without_alert(prometheus))
        for round_ in range(3):  # a rate is of two looks at least, with something between
            for number in range(4):
                assert book(url, f"{KEY}-{round_}-{number}").status_code == 201
            assert book(url, f"{KEY}-{round_}-0").headers["Idempotent-Replayed"] == "true"
            stand_in.add_fault("error_before", times=1, path=CHARGING)
            assert book(url, f"{KEY}-{round_}-unknown").status_code == 503
            assert requests.post(f"{url}/rides", timeout=30).status_code == 411
            seen = prometheus.found("sum(idempotency_request_seconds_count)")
            wait_until(
                lambda seen=seen: prometheus.found("sum(idempotency_request_seconds_count)") != seen
            )

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
