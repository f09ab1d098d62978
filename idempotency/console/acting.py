"""The acts of the app's own lists: what is done by each, and to which rows."""

from typing import Any

from django import forms
from django.db.models import Q

from idempotency.admin.filters import UNDER_REVIEW, UNFINISHED
from idempotency.console.acts import Act, ActForm
from idempotency.jobs.delivering import put_back
from idempotency.models import IdempotencyKey, JobDelivery
from idempotency.phases import Response
from idempotency.review import decisions, hastening
from idempotency.review.decisions import Decision, said_of
from idempotency.review.forms import CloseForm, RunAgainForm, UndoForm

CHANGES_KEYS = "idempotency.change_idempotencykey"
CHANGES_JOBS = "idempotency.change_jobdelivery"


class CloseManyForm(ActForm):
    status = forms.IntegerField(
        min_value=400, max_value=599, initial=409, help_text="The HTTP status of each answer."
    )
    message = forms.CharField(max_length=500, help_text="For the clients.")


def _decision(key: IdempotencyKey, who: str, said: dict[str, Any]) -> Decision:
    return Decision(key_id=key.pk, lease_token=key.lease_token, reviewer=who, reason=said["reason"])


def _run_now(key: IdempotencyKey, who: str, said: dict[str, Any]) -> str:
    return hastening.run_now(_decision(key, who, said))


def _let_go(key: IdempotencyKey, who: str, said: dict[str, Any]) -> str:
    return hastening.let_go(_decision(key, who, said))


def _run_again(key: IdempotencyKey, who: str, said: dict[str, Any]) -> str:
    return said_of(decisions.run_again(_decision(key, who, said)))


def _undo(key: IdempotencyKey, who: str, said: dict[str, Any]) -> str:
    return said_of(decisions.undo(_decision(key, who, said)))


def _close(key: IdempotencyKey, who: str, said: dict[str, Any]) -> str:
    answer = Response.error(said["status"], said["message"], code="closed")
    return said_of(decisions.close(_decision(key, who, said), answer))


def _put_back(job: JobDelivery, who: str, said: dict[str, Any]) -> str:
    count = put_back([job.job_id], who=who, reason=said["reason"])
    return f"{count} put back"


RUN_NOW = Act(
    slug="run-now",
    title="Run now",
    consequence=(
        "The completer goes on with the request at its next look, in place of when it would be "
        "due. What somebody works on is looked at again once that has ended."
    ),
    concerns=lambda: UNFINISHED,
    carry_out=_run_now,
    permission=CHANGES_KEYS,
)
LET_GO = Act(
    slug="let-go",
    title="End the lease",
    consequence=(
        "For a process that is gone: its request is due at once, in place of when the lease would "
        "have run out. Should it live after all, it can write nothing more; but a call that it has "
        "under way may still arrive."
    ),
    concerns=lambda: UNFINISHED & Q(locked_at__isnull=False),
    carry_out=_let_go,
    permission=CHANGES_KEYS,
)
RUN_AGAIN = Act(
    slug=RunAgainForm.slug,
    title=RunAgainForm.title,
    consequence=RunAgainForm.consequence,
    concerns=lambda: UNDER_REVIEW,
    carry_out=_run_again,
    permission=CHANGES_KEYS,
)
UNDO = Act(
    slug=UndoForm.slug,
    title=UndoForm.title,
    consequence=UndoForm.consequence,
    concerns=lambda: UNDER_REVIEW,
    carry_out=_undo,
    permission=CHANGES_KEYS,
)
CLOSE = Act(
    slug=CloseForm.slug,
    title=CloseForm.title,
    consequence=CloseForm.consequence,
    concerns=lambda: UNDER_REVIEW,
    carry_out=_close,
    permission=CHANGES_KEYS,
    form=CloseManyForm,
)
PUT_BACK = Act(
    slug="put-back",
    title="Put back",
    consequence="The job is handed over to the queue again, as if it had never been.",
    concerns=lambda: Q(set_aside_at__isnull=False),
    carry_out=_put_back,
    permission=CHANGES_JOBS,
)
