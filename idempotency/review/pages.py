"""The admin's pages on which a person decides on a request, or asks what became of it.

One form for each decision, which knows its words and carries it out through `reviewing`.
"""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from idempotency.exceptions import IdempotencyError, ReviewRefused
from idempotency.models import IdempotencyKey
from idempotency.parameters import readable_parameters
from idempotency.phases import Response
from idempotency.review import decisions
from idempotency.review.decisions import Decision
from idempotency.storable import described, storable_text


class DecisionForm(forms.Form):
    """A decision with its reason. `slug` is its place in the address, `title` is on its button."""

    slug: ClassVar[str]
    title: ClassVar[str]
    consequence: ClassVar[str]

    # The request as the page showed it.
    lease_token = forms.UUIDField(widget=forms.HiddenInput)
    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3, "cols": 80}),
        help_text="Why; it is kept with the request and in the audit records.",
    )

    def carry_out(self, decision: Decision) -> Response:
        """*Raises* `ReviewRefused`, or the `IdempotencyError` with which the attempt ended."""
        raise NotImplementedError


class RunAgainForm(DecisionForm):
    slug = "run-again"
    title = "Run again"
    consequence = "The request goes on from where it stands, as if its client had retried."

    def carry_out(self, decision: Decision) -> Response:
        return decisions.run_again(decision)


class AdoptForm(DecisionForm):
    slug = "adopt"
    title = "Adopt"
    consequence = (
        "The request goes on with what you found at the foreign system, once that has been "
        "checked to belong to it. Nothing is sent again."
    )
    reference = forms.CharField(
        max_length=255, help_text="Its id at the foreign system, of a charge for example."
    )
    field_order = ("reference", "reason")

    def carry_out(self, decision: Decision) -> Response:
        return decisions.adopt(decision, self.cleaned_data["reference"])


class UndoForm(DecisionForm):
    slug = "undo"
    title = "Cancel and undo"
    consequence = (
        "What was done at the foreign system is taken back, and the request is finished as "
        "cancelled. This cannot be taken back itself."
    )

    def carry_out(self, decision: Decision) -> Response:
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

    def carry_out(self, decision: Decision) -> Response:
        status, message = self.cleaned_data["status"], self.cleaned_data["message"]
        return decisions.close(decision, Response.error(status, message, code="closed"))


DECISIONS: dict[str, type[DecisionForm]] = {
    form.slug: form for form in (RunAgainForm, AdoptForm, UndoForm, CloseForm)
}


class ReviewPages(admin.ModelAdmin):
    """Gives the page of a key that needs review its buttons, and each of these its page."""

    def get_urls(self) -> list[URLPattern]:
        pages = self.admin_site.admin_view
        return [
            path("<int:key_id>/ask/", pages(self.ask), name="idempotency_ask"),
            path("<int:key_id>/decide/<slug:slug>/", pages(self.decide), name="idempotency_decide"),
            *super().get_urls(),
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        key = context.get("original")
        if key and key.is_under_review and may_decide(request):
            context["decisions"] = DECISIONS.values()
        return super().render_change_form(request, context, *args, **kwargs)

    def ask(self, request: HttpRequest, key_id: int) -> HttpResponse:
        """What the foreign system says now, in no more time than a foreign call may take."""
        key = self._key(request, key_id)
        said = decisions.ask_foreign_system(key)
        return self._page(request, key, {"title": "What the foreign system says", "said": said})

    def decide(self, request: HttpRequest, key_id: int, slug: str) -> HttpResponse:
        """The form of a decision, and the decision."""
        if slug not in DECISIONS:
            raise Http404(f"There is no decision {slug}.")
        key = self._key(request, key_id)
        form = DECISIONS[slug](request.POST or None, initial={"lease_token": key.lease_token})
        if form.is_valid() and self._carry_out(request, key, form):
            return redirect("admin:idempotency_idempotencykey_change", key.pk)
        return self._page(request, key, {"title": form.title, "form": form})

    def _carry_out(self, request: HttpRequest, key: IdempotencyKey, form: DecisionForm) -> bool:
        """Whether there is nothing more to do on the form's page."""
        decision = Decision(
            key_id=key.pk,
            lease_token=form.cleaned_data["lease_token"],
            reviewer=request.user.get_username(),
            reason=form.cleaned_data["reason"],
        )
        try:
            response = form.carry_out(decision)
        except ReviewRefused as refused:
            form.add_error(None, described(refused))
            return False
        except IdempotencyError as error:
            self.message_user(request, described(error), messages.WARNING)
            return True
        said = storable_text(response.text)
        done = f"The request is finished, with {response.status}: {said}"
        self.message_user(request, done, messages.SUCCESS)
        return True

    def _key(self, request: HttpRequest, key_id: int) -> IdempotencyKey:
        if not may_decide(request):
            raise PermissionDenied
        return get_object_or_404(IdempotencyKey.objects.select_related("user"), pk=key_id)

    def _page(
        self, request: HttpRequest, key: IdempotencyKey, context: dict[str, Any]
    ) -> TemplateResponse:
        everywhere = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "key": key,
            "asked": readable_parameters({**key.path_kwargs, **key.request_params}),
            "decisions": DECISIONS.values() if key.is_under_review else (),
        }
        return TemplateResponse(request, "idempotency/decision.html", everywhere | context)


def may_decide(request: HttpRequest) -> bool:
    """Whoever may change keys; the admin lets nobody change one in any other way."""
    return request.user.has_perm("idempotency.change_idempotencykey")
