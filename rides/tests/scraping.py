"""Prometheus, with the rules and the configuration that production has."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from rocketrides.environment import BASE_DIR
from sandbox.supervisor import PATIENCE_SECONDS, environment, free_port, start, wait_until

FOLDER = BASE_DIR / "deploy" / "prometheus"
DASHBOARD = BASE_DIR / "deploy" / "grafana" / "dashboard.json"
PROGRAM, TOOL = shutil.which("prometheus"), shutil.which("promtool")

RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]
QUERIES: list[str] = [target["expr"] for panel in PANELS for target in panel["targets"]]

MISSING = "NOT TESTED: there is no prometheus; `make prometheus`"


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str

    def asked(self, path: str, **query: str) -> Any:
        """Return what its API answers.

        Raises: AssertionError, with its reason, where it refuses.
        """
        answer = requests.get(f"{self.url}/api/v1/{path}", params=query, timeout=PATIENCE_SECONDS)
        said = answer.json()
        assert said["status"] == "success", said
        return said["data"]

    def found(self, query: str) -> dict[frozenset[tuple[str, str]], float]:
        """Return what a query finds now, by labels."""
        return {
            frozenset(each["metric"].items()): float(each["value"][1])
            for each in self.asked("query", query=query)["result"]
        }

    def firing(self) -> set[tuple[str, str]]:
        """Return the alerts that fire, each with the worker that it is about."""
        return {
            (alert["labels"]["alertname"], alert["labels"].get("worker", ""))
            for alert in self.asked("alerts")["alerts"]
            if alert["state"] == "firing"
        }


def checked(*arguments: str | Path, folder: Path = FOLDER) -> "subprocess.CompletedProcess[str]":
    """Run promtool."""
    assert TOOL, MISSING
    command = [TOOL, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def configured(folder: Path, port: int, token: str) -> Path:
    """Write the configuration for an API on a port of this machine, which is looked at each second.

    The rules are those of production, but that nothing has to last before it fires.
    """
    text = (FOLDER / "prometheus.yml").read_text()
    for words, others in {
        "/etc/prometheus/rocketrides-token": str(folder / "token"),
        "127.0.0.1:5000": f"127.0.0.1:{port}",
        "_interval: 15s": "_interval: 1s",
    }.items():
        assert words in text
        text = text.replace(words, others)
    (folder / "token").write_text(token)
    (folder / "prometheus.yml").write_text(text)
    rules = (FOLDER / "alerts.yml").read_text()
    for lasts in ("1m", "2m", "5m"):
        rules = rules.replace(f"for: {lasts}\n", "for: 0s\n")
    (folder / "alerts.yml").write_text(rules)
    return folder / "prometheus.yml"


@contextlib.contextmanager
def running_prometheus(folder: Path, configuration: Path) -> Iterator[Prometheus]:
    """Prometheus on a free port, ended at the end of the block."""
    assert PROGRAM, MISSING
    port, log = free_port(), folder / "prometheus.log"
    with log.open("w") as lines:
        running = start(
            [
                *[PROGRAM, f"--config.file={configuration}"],
                *[f"--storage.tsdb.path={folder / 'data'}"],
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            environment(),
            output=lines,
        )
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    try:
        wait_until(lambda: not running.is_running() or is_ready(prometheus))
        assert running.is_running(), log.read_text()
        yield prometheus
    finally:
        running.end()


def is_ready(prometheus: Prometheus) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(f"{prometheus.url}/-/ready", timeout=PATIENCE_SECONDS).ok
    return False
