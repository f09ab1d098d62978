"""The admin's pages on which a person decides on a request, or asks what became of it."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from idempotency.exceptions import IdempotencyError, ReviewRefused
from idempotency.models import IdempotencyKey
from idempotency.parameters import readable_parameters
from idempotency.review import decisions
from idempotency.review.decisions import Decision, said_of
from idempotency.review.forms import DECISIONS, DecisionForm
from idempotency.support.described import described
from idempotency.support.permissions import LOOKED, may_see_personal_data


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
        """Show what the foreign system says now, in no more time than a foreign call may take."""
        key = self._key(request, key_id)
        said = decisions.ask_foreign_system(key)
        return self._page(request, key, {"title": "What the foreign system says", "said": said})

    def decide(self, request: HttpRequest, key_id: int, slug: str) -> HttpResponse:
        """Show the form of a decision, and carry the decision out."""
        if slug not in DECISIONS:
            raise Http404(f"There is no decision {slug}.")
        key = self._key(request, key_id)
        form = DECISIONS[slug](request.POST or None, initial={"lease_token": key.lease_token})
        if form.is_valid() and self._carry_out(request, key, form):
            return redirect("admin:idempotency_idempotencykey_change", key.pk)
        return self._page(request, key, {"title": form.title, "form": form})

    def _carry_out(self, request: HttpRequest, key: IdempotencyKey, form: DecisionForm) -> bool:
        """Say whether there is nothing more to do on the form's page."""
        decision = Decision(
            key_id=key.pk,
            lease_token=form.cleaned_data["lease_token"],
            reviewer=request.user.get_username(),
            reason=form.cleaned_data["reason"],
        )
        try:
            outcome = form.carry_out(decision)
        except ReviewRefused as refused:
            form.add_error(None, described(refused))
            return False
        except IdempotencyError as error:
            self.message_user(request, described(error), messages.WARNING)
            return True
        self.message_user(request, f"The request is {said_of(outcome)}", messages.SUCCESS)
        return True

    def _key(self, request: HttpRequest, key_id: int) -> IdempotencyKey:
        if not may_decide(request):
            raise PermissionDenied
        return get_object_or_404(IdempotencyKey.objects.select_related("user"), pk=key_id)

    def _page(
        self, request: HttpRequest, key: IdempotencyKey, context: dict[str, Any]
    ) -> TemplateResponse:
        if may_see_personal_data(request.user):
            self.log_change(request, key, LOOKED)
        everywhere = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "key": key,
            "asked": _asked(request, key),
            "of_user": key.user if may_see_personal_data(request.user) else f"user {key.user_id}",
            "decisions": DECISIONS.values() if key.is_under_review else (),
        }
        return TemplateResponse(request, "idempotency/decision.html", everywhere | context)


def _asked(request: HttpRequest, key: IdempotencyKey) -> dict[str, Any]:
    """Return what was asked for, of which a value may be personal."""
    asked = readable_parameters({**key.path_kwargs, **key.request_params})
    return asked if may_see_personal_data(request.user) else dict.fromkeys(asked, "masked")


def may_decide(request: HttpRequest) -> bool:
    """Allow whoever may change keys, which the admin allows in no other way."""
    return request.user.has_perm("idempotency.change_idempotencykey")
