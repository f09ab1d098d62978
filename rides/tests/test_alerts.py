"""The rules and the dashboard of deploy/ agree with the code: with its alarms, outcomes and codes,
and with the numbers that it gives.
"""

import re
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from idempotency.console.overview import FAILED
from idempotency.exceptions import Indeterminate
from idempotency.watching.metrics import StandingCollector
from idempotency.watching.standing import DEAD_AFTER, OLDEST, WORKERS
from rides.tests.scraping import QUERIES, RULES
from rocketrides.refusals import Overloaded

BY_NAME = {rule["alert"]: rule for rule in RULES}


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


@pytest.mark.django_db(transaction=True)
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
