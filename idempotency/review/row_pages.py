"""The admin's pages of what waits beside the requests: the table under the review list, and the
page of a decision on one of its rows.
"""

from itertools import islice
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse

from idempotency.exceptions import IdempotencyError, ReviewRefused
from idempotency.review.rows import OpenRow, RowDecisionForm, find_open_row, open_rows
from idempotency.support.described import described

MOST_SHOWN = 200


class RowPages(admin.ModelAdmin):
    """Gives the review list the rows that stand beside the requests, and each decision its page."""

    change_list_template = "idempotency/review_list.html"

    def get_urls(self) -> list[URLPattern]:
        decide = self.admin_site.admin_view(self.decide)
        return [
            path("<str:name>/decide/<slug:slug>/", decide, name="idempotency_decide_row"),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show up to `MOST_SHOWN` of the rows, each with the address of its own page."""
        waiting = islice(open_rows(), MOST_SHOWN)
        beside = [(each, page_of(each)) for each in waiting if may_see(request, each)]
        return super().changelist_view(request, {**(extra_context or {}), "beside": beside})

    def decide(self, request: HttpRequest, name: str, slug: str) -> HttpResponse:
        """Show the form of a decision, and carry the decision out."""
        waiting = find_open_row(name)
        if waiting is None:
            raise Http404(f"{name} does not wait for a decision.")
        if not may_decide(request, waiting):
            raise PermissionDenied
        form_class = next((each for each in waiting.decisions if each.slug == slug), None)
        if form_class is None:
            raise Http404(f"There is no decision {slug} on {name}.")
        form = form_class(request.POST or None, initial={"state": waiting.state})
        if form.is_valid() and self._carry_out(request, waiting, form):
            return redirect("admin:idempotency_requestunderreview_changelist")
        everywhere = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
        }
        return TemplateResponse(
            request,
            "idempotency/row_decision.html",
            {**everywhere, "title": form.title, "form": form, "waiting": waiting},
        )

    def _carry_out(self, request: HttpRequest, waiting: OpenRow, form: RowDecisionForm) -> bool:
        """Say whether there is nothing more to do on the form's page."""
        try:
            said = form.decide(waiting, reviewer=request.user.get_username())
        except ReviewRefused as refused:
            form.add_error(None, described(refused))
            return False
        except IdempotencyError as error:
            self.message_user(request, described(error), messages.WARNING)
            return True
        self.message_user(request, said, messages.SUCCESS)
        return True


def page_of(waiting: OpenRow) -> str | None:
    """Return the address of the row's own page in the admin, where it has one."""
    meta = waiting.row._meta
    try:
        return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[waiting.row.pk])
    except NoReverseMatch:
        return None


def may_see(request: HttpRequest, waiting: OpenRow) -> bool:
    return may_decide(request, waiting) or request.user.has_perm(_permission("view", waiting))


def may_decide(request: HttpRequest, waiting: OpenRow) -> bool:
    """Allow whoever may change such rows, which the admin allows in no other way."""
    return request.user.has_perm(_permission("change", waiting))


def _permission(verb: str, waiting: OpenRow) -> str:
    return f"{waiting.row._meta.app_label}.{verb}_{waiting.row._meta.model_name}"
