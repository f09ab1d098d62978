"""The fixture `crash_everywhere`, and the line at the end of a run that says what it tried. And no
thread of the app's own in the process of the tests: its doors stand open.

To use it: `pytest_plugins = ["idempotency.testing.pytest_plugin"]` in the root conftest.
"""

from collections.abc import Callable

import pytest

CrashEverywhere = Callable[..., object]

_PROPERTY = "crashes"


@pytest.fixture
def crash_everywhere(request: pytest.FixtureRequest, transactional_db: None) -> CrashEverywhere:
    """Explore an experiment; the test fails with the violations, if there are any."""
    # Django's models cannot be imported yet when pytest loads its plugins.
    from idempotency.testing.experiments import Experiment
    from idempotency.testing.exploring import Report, explore
    from idempotency.testing.plans import Plan, every_combination

    def crash(experiment: Experiment, plan: Plan = every_combination) -> Report:
        report = explore(experiment, plan)
        request.node.user_properties.append((_PROPERTY, f"{request.node.name}: {report}"))
        if report.problems:
            pytest.fail("\n".join([str(report), *report.problems[:MOST_SHOWN]]), pytrace=False)
        return report

    return crash


@pytest.fixture(autouse=True)
def doors_stand_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that reads them would look into whatever database a test is leaving, and that of
    the pulse would write there.
    """
    from idempotency import doors
    from idempotency.watching import pulse

    monkeypatch.setattr(doors, "as_last_read", lambda: doors.Reading(are_closed=False))
    pulse.is_on = False  # and not on again: what answers between two tests begins one too


MOST_SHOWN = 20


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [r for r in terminalreporter.getreports("passed") if r.when == "call"]
    lines = [text for r in reports for name, text in r.user_properties if name == _PROPERTY]
    if lines:
        terminalreporter.section("crashes at every boundary")
        for line in lines:
            terminalreporter.write_line(line)
