"""What tests of every folder share: the Stripe stand-in, as a process of its own."""

from collections.abc import Iterator

import pytest

from sandbox.stripe.control import StandIn
from sandbox.stripe.process import running_stand_in

pytest_plugins = ["idempotency.testing.pytest_plugin"]


@pytest.fixture(scope="session")
def stand_in_process() -> Iterator[StandIn]:
    with running_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def stand_in(stand_in_process: StandIn, settings) -> StandIn:
    """An empty stand-in, and the settings that lead to it."""
    stand_in_process.reset()
    settings.STRIPE_API_KEY = "sk_test_sandbox"
    settings.STRIPE_API_BASE = stand_in_process.base_url
    return stand_in_process


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which check caught which of the bugs that were planted, and what the model has tried."""
    if bugs := _noted(terminalreporter, "seeded bug"):
        caught = sum("NOT CAUGHT" not in row for row in bugs)
        _write(terminalreporter, f"{caught} of {len(bugs)} seeded bugs caught", bugs)
    if counts := _noted(terminalreporter, "model"):
        _write(terminalreporter, "the service and its model agreed", counts)


def _noted(reporter: pytest.TerminalReporter, what: str) -> list[str]:
    reports = [r for how in ("passed", "failed") for r in reporter.getreports(how)]
    return [text for r in reports for name, text in r.user_properties if name == what]


def _write(reporter: pytest.TerminalReporter, title: str, rows: list[str]) -> None:
    reporter.section(title)
    for row in rows:
        reporter.write_line(row)
