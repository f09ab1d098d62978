"""What a person can decide on a request: the words of each decision, and what it asks for."""

from typing import ClassVar

from django import forms

from idempotency.attempts import Outcome
from idempotency.phases import Response
from idempotency.review import decisions
from idempotency.review.decisions import Decision


class DecisionForm(forms.Form):
    """A decision with its reason.

    - `slug`: its place in an address, and its name on the command line.
    - `title`: the text on its button.
    - `argument`: the field that the command takes without an option's name.
    """

    slug: ClassVar[str]
    title: ClassVar[str]
    consequence: ClassVar[str]
    argument: ClassVar[str | None] = None

    # The request as the page showed it.
    lease_token = forms.UUIDField(widget=forms.HiddenInput)
    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3, "cols": 80}),
        help_text="Why; it is kept with the request and in the audit records.",
    )

    def carry_out(self, decision: Decision) -> Outcome:
        """Raises: `ReviewRefused`, or the `IdempotencyError` with which the attempt ended."""
        raise NotImplementedError


class RunAgainForm(DecisionForm):
    slug = "run-again"
    title = "Run again"
    consequence = "The request goes on from where it stands, as if its client had retried."

    def carry_out(self, decision: Decision) -> Outcome:
        return decisions.run_again(decision)


class AdoptForm(DecisionForm):
    slug = "adopt"
    title = "Adopt"
    consequence = (
        "The request goes on with what you found at the foreign system, once that has been "
        "checked to belong to it. Nothing is sent again."
    )
    argument = "reference"
    reference = forms.CharField(
        max_length=255, help_text="Its id at the foreign system, of a charge for example."
    )
    field_order = ("reference", "reason")

    def carry_out(self, decision: Decision) -> Outcome:
        return decisions.adopt(decision, self.cleaned_data["reference"])


class UndoForm(DecisionForm):
    slug = "undo"
    title = "Cancel and undo"
    consequence = (
        "What was done at the foreign system is taken back, and the request is finished as "
        "cancelled. This cannot be taken back itself."
    )

    def carry_out(self, decision: Decision) -> Outcome:
        return decisions.undo(decision)


class CloseForm(DecisionForm):
    slug = "close"
    title = "Close"
    consequence = (
        "The request is finished with the answer that you give, which its client gets for every "
        "retry. Nothing else is done: not at the foreign system either."
    )
    status = forms.IntegerField(
        min_value=400, max_value=599, initial=409, help_text="The HTTP status of the answer."
    )
    message = forms.CharField(max_length=500, help_text="For the client.")
    field_order = ("status", "message", "reason")

    def carry_out(self, decision: Decision) -> Outcome:
        status, message = self.cleaned_data["status"], self.cleaned_data["message"]
        return decisions.close(decision, Response.error(status, message, code="closed"))


DECISIONS: dict[str, type[DecisionForm]] = {
    form.slug: form for form in (RunAgainForm, AdoptForm, UndoForm, CloseForm)
}
"""Every decision there is: buttons, pages and subcommands are made of this list."""
