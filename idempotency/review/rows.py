"""What waits for a person beside the requests: rows of the project's own, on the same review list.

For what comes after a request has finished, and is no matter of its key any more. The project
registers its rows, with the decisions on them, where its app gets ready.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from django import forms
from django.db.models import Model

from idempotency.exceptions import ReviewRefused


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRow:
    """A row that waits for a decision.

    Args:
        name: what the list calls it, and a decision takes.
        state: what a decision is about: it is refused once the row is in another state.
        said: why it waits, in words.
        decisions: those that can be taken on it.
    """

    row: Model
    name: str
    state: str
    since: datetime
    said: str
    decisions: "tuple[type[RowDecisionForm], ...]"


class RowDecisionForm(forms.Form):
    """A decision on such a row, with its reason. `slug` and `title` are as a request's."""

    slug: ClassVar[str]
    title: ClassVar[str]
    consequence: ClassVar[str]

    # The row as the page showed it.
    state = forms.CharField(widget=forms.HiddenInput)
    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3, "cols": 80}),
        help_text="Why; it is kept with the row and in the audit records.",
    )

    def decide(self, waiting: OpenRow, *, reviewer: str) -> str:
        """Carry the decision out, and return in words what was done.

        Raises: `ReviewRefused`; an `IdempotencyError`, after which it can be decided again.
        """
        if not reviewer.strip():
            raise ReviewRefused("A decision names who took it.")
        if type(self) not in waiting.decisions:
            raise ReviewRefused(f"{waiting.name} is {waiting.state}: this is no decision on it.")
        if self.cleaned_data["state"] != waiting.state:
            raise ReviewRefused(f"{waiting.name} is not as you saw it. Look at it again.")
        return self.carry_out(waiting, reviewer=reviewer)

    def carry_out(self, waiting: OpenRow, *, reviewer: str) -> str:
        """Do it. The row may have changed since it was read."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """The rows of a project that belong on the review list.

    Args:
        open_rows: returns them, those first that have waited longest.
        find: returns the one with a name, if it waits.
        decisions: all that there are, in the order of their buttons.
    """

    open_rows: Callable[[], Iterable[OpenRow]]
    find: Callable[[str], OpenRow | None]
    decisions: tuple[type[RowDecisionForm], ...]


_registered: list[Beside] = []


def register(beside: Beside) -> None:
    """Have rows stand on the review list. To be called once, where the app gets ready."""
    _registered.append(beside)


def open_rows() -> Iterable[OpenRow]:
    """Return all that waits beside the requests."""
    return (waiting for beside in _registered for waiting in beside.open_rows())


def find_open_row(name: str) -> OpenRow | None:
    """Return the row with a name, if it waits."""
    found = (beside.find(name) for beside in _registered)
    return next((waiting for waiting in found if waiting is not None), None)


def row_decisions() -> dict[str, type[RowDecisionForm]]:
    """Return every decision on such rows, by its slug."""
    return {form.slug: form for beside in _registered for form in beside.decisions}
