"""A bug that no crash shows: it is planted, and the test that stands against it must fail."""

from typing import Any

import pytest

from rides.tests import test_overload
from sandbox.stripe.control import StandIn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]


class Unbounded:
    """Sets what a test sets, but for the limit of what may wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def setenv(self, name: str, value: str) -> None:
        self.monkeypatch.setenv(name, "100000" if name == "API_QUEUE" else value)


def test_whatever_comes_may_wait(
    stand_in: StandIn, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    monkeypatch.setenv("API_QUEUE_SECONDS", "60")
    test = test_overload.test_a_refusal_says_when_to_come_back
    record_property("seeded bug", f"{'whatever_comes_may_wait':<42} {test.__name__}")

    with pytest.raises((AssertionError, KeyError)):  # the refusal that never came has no code
        test(stand_in, tmp_path, Unbounded(monkeypatch))
