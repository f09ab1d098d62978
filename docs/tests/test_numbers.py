"""The tables of numbers and of alerts have what Prometheus is given, and all of it."""

import re

import pytest
from prometheus_client.metrics import MetricWrapperBase

from docs.tests.pages import ROOT, read
from idempotency.watching import metrics
from rides.tests.scraping import RULES

PAGE = read(ROOT / "docs" / "operating.md")

IN_WORDS = {
    **{"900": "15 min", "600": "10 min", "60": "1 min", "5": "5 s"},
    **{"0.05": "5 %", "0.2": "20 %", "0": "there is one", "1": "one request a second"},
}


def table(first: str) -> list[list[str]]:
    [found] = [rows for rows in PAGE.tables if rows[0][0] == first]
    return found[2:]


def code(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


@pytest.mark.django_db(transaction=True)
def test_the_table_of_numbers_has_each_with_its_labels():
    counted = {
        metric.describe()[0].name: set(metric._labelnames)
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
    }
    stands = {
        family.name: {label for sample in family.samples for label in sample.labels}
        for family in metrics.StandingCollector().collect()
    }
    named = {code(row[0])[0].removesuffix("_total"): set(code(row[1])) for row in table("number")}

    assert named == counted | stands


def test_the_table_of_alerts_has_each_as_the_rules_have_it():
    told = [
        [*code(row[0]), row[2], row[3], re.findall(r"\(#([\w-]+)\)", row[4])[-1]]
        for row in table("alert")
    ]

    assert told == [
        [
            rule["alert"],
            f"{rule['for'].removesuffix('m')} min",
            rule["labels"]["severity"],
            rule["annotations"]["runbook"].partition("#")[2],
        ]
        for rule in RULES
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_the_runbook_of_an_alert_is_there_and_its_threshold_is_told(rule):
    [when] = [row[1] for row in table("alert") if code(row[0]) == [rule["alert"]]]
    threshold = re.search(r"> ([\d.]+)$", rule["expr"].strip())

    assert rule["annotations"]["runbook"].partition("#")[2] in PAGE.anchors
    assert threshold is None or IN_WORDS[threshold[1]] in when
