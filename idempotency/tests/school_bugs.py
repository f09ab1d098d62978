"""Bugs that an enrolment shows, planted for both its model and its boundaries."""

from typing import Any

import pytest

from idempotency.http import shapes
from idempotency.tests import seams


def ask_the_form_at_each_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the form say that the name is taken, by this very request."""

    def ask_again(*sent_form_and_transient_fields: Any) -> dict[str, Any]:
        shapes.kept_by_form(*sent_form_and_transient_fields)
        return {}

    monkeypatch.setattr(*seams.CLEAN_TRANSIENT, ask_again)


def keep_memory_after_a_roll_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a phase that runs again find objects as its rolled-back run has left them."""
    for seam in (seams.MAKE_ANEW, seams.READ_INSTANCES_ANEW):
        monkeypatch.setattr(*seam, lambda self: None)
