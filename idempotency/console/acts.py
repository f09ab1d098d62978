"""What can be done to rows of a list: to one, to those chosen, or to all that the filter shows.

Each act first says how many it would concern and which, asks for a reason, and has a limit. It is
carried out row by row, each through the function that a command would call; one that is refused
does not stop the rest. What the page has not shown is left alone, whatever the filter shows then.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import PermissionDenied
from django.db.models import Model, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from idempotency.admin.lists import is_id
from idempotency.exceptions import IdempotencyError, ReviewRefused
from idempotency.support.described import described

MOST_AT_ONCE = 1000
MOST_NAMED = 20
"""Of how many the page says which they are."""

LONGEST = timedelta(seconds=30)
"""After that no further row is begun: whoever waits for the page, a proxy among them, gives up."""

CHOSEN = "chosen"
SHOWN = "shown"
"""What the form carries of each row that it has shown: its number and its lease's token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that a person can do to rows.

    Args:
        slug: its place in an address.
        title: the text on its button.
        consequence: what it does, in a sentence or two.
        concerns: which rows it can be done to.
        carry_out: `(row, who, said) -> what was done, in words`, where `said` is what the form has,
            the reason among it; it may raise `ReviewRefused` or an `IdempotencyError`.
        permission: who may, as `app_label.codename`.
        form: what is asked besides the reason.
    """

    slug: str
    title: str
    consequence: str
    concerns: Callable[[], Q]
    carry_out: Callable[[Any, str, dict[str, Any]], str]
    permission: str
    form: "type[ActForm] | None" = None


class ActForm(forms.Form):
    """Why, and to how many at most."""

    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 2, "cols": 80}),
        max_length=500,
        help_text="Why; it is kept.",
    )
    limit = forms.IntegerField(
        min_value=1, max_value=MOST_AT_ONCE, initial=100, help_text="To no more than so many."
    )


class ActPages(admin.ModelAdmin):
    """Gives a list its acts. A subclass says which (`acts`)."""

    acts: Sequence[Act] = ()
    change_list_template = "idempotency/act_list.html"
    change_form_template = "idempotency/act_row.html"

    def get_urls(self) -> list[URLPattern]:
        act = self.admin_site.admin_view(self.act)
        name = f"{self.opts.app_label}_{self.opts.model_name}_act"
        return [path("act/<slug:slug>/", act, name=name), *super().get_urls()]

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Offer the acts for the rows that are ticked: each leads to its page."""
        actions: dict[str, Any] = super().get_actions(request)
        for each in self.acts_of(request):
            actions[each.slug] = (_leading_to(each), each.slug, each.title)
        return actions

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        acts = [(each, self._url(each, request.GET.urlencode())) for each in self.acts_of(request)]
        return super().changelist_view(request, {**(extra_context or {}), "acts": acts})

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Offer on a row's page what can be done to it as it stands."""
        row = context.get("original")
        if row is not None:
            own = self.model._base_manager.filter(pk=row.pk)
            context["acts"] = [
                (each, self._url(each, f"{CHOSEN}={row.pk}"))
                for each in self.acts_of(request)
                if own.filter(each.concerns()).exists()
            ]
        return super().render_change_form(request, context, *args, **kwargs)

    def acts_of(self, request: HttpRequest) -> list[Act]:
        return [each for each in self.acts if request.user.has_perm(each.permission)]

    def act(self, request: HttpRequest, slug: str) -> HttpResponse:
        """Say what an act would do, and, once a reason is given, do it."""
        found = [each for each in self.acts if each.slug == slug]
        if not found:
            raise Http404(f"There is no act {slug}.")
        [act] = found
        if not request.user.has_perm(act.permission):
            raise PermissionDenied
        try:
            rows = self._rows(request).filter(act.concerns())
        except IncorrectLookupParameters:  # as the list itself answers it
            return redirect(f"{self._list_url()}?{ERROR_FLAG}=1")
        form = (act.form or ActForm)(request.POST or None)
        shown = dict(_read(request.POST.get(SHOWN, "")))
        if shown and form.is_valid():
            there = rows.filter(pk__in=shown)[: form.cleaned_data["limit"]]
            self._act_on(request, act, [_as_shown(row, shown) for row in there], form)
            return redirect(self._list_url(request))
        return self._act_page(request, act, rows, form)

    def _rows(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows that are chosen, or all that the filter of the address shows."""
        if CHOSEN in request.GET:
            ids = [pk for pk in request.GET[CHOSEN].split(",") if is_id(pk)]
            return self.get_queryset(request).filter(pk__in=ids).order_by("-pk")
        changelist = self.get_changelist_instance(request)
        within: QuerySet[Any] = changelist.within_reach()  # type: ignore[attr-defined]
        return within

    def _act_on(self, request: HttpRequest, act: Act, rows: Sequence[Model], form: ActForm) -> None:
        done, refused = 0, []
        who = request.user.get_username()
        until = time.monotonic() + LONGEST.total_seconds()
        for row, is_done, said in _each(act, rows, who, form.cleaned_data):
            done += is_done
            if is_done:
                self.log_change(request, row, f"{act.title}: {form.cleaned_data['reason']}")
            else:
                refused.append(f"{row.pk}: {said}")
            if time.monotonic() > until:
                break
        left = len(rows) - done - len(refused)
        level = messages.WARNING if refused or left else messages.SUCCESS
        told = f"{act.title}: {done} done, {len(refused)} refused."
        if left:
            told += f" {left} not begun, for want of time: do it again for these."
        self.message_user(request, " ".join([told, *refused[:MOST_NAMED]]), level)

    def _act_page(
        self, request: HttpRequest, act: Act, rows: QuerySet[Any], form: ActForm
    ) -> HttpResponse:
        named = list(rows[: MOST_AT_ONCE + 1])
        all_of_them = f"{len(named):,}" if len(named) <= MOST_AT_ONCE else f"over {MOST_AT_ONCE:,}"
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": act.title,
            "act": act,
            "form": form,
            "count": all_of_them,
            "named": named[:MOST_NAMED],
            "more": max(0, len(named) - MOST_NAMED),
            SHOWN: ",".join(map(_written, named[:MOST_AT_ONCE])),
            "are_chosen": CHOSEN in request.GET,
            "list_url": self._list_url(request),
        }
        return TemplateResponse(request, "idempotency/act.html", context)

    def _url(self, act: Act, query: str) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_act"
        return f"{reverse(name, args=[act.slug])}?{query}"

    def _list_url(self, request: HttpRequest | None = None) -> str:
        """Return the list's address, with the filter of a request."""
        url = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        if request is None:
            return url
        shown = request.GET.copy()
        shown.pop(CHOSEN, None)
        return f"{url}?{shown.urlencode()}" if shown else url


def _written(row: Model) -> str:
    return f"{row.pk}:{getattr(row, 'lease_token', '')}"


def _read(shown: str) -> Iterator[tuple[int, str]]:
    for each in shown.split(",")[:MOST_AT_ONCE]:
        pk, _, token = each.partition(":")
        if is_id(pk):
            yield int(pk), token


def _as_shown(row: Any, shown: dict[int, str]) -> Any:
    """Give the row back the token that the page has shown, so that a decision is about what was
    seen, and refused once somebody has worked on it.
    """
    if hasattr(row, "lease_token"):
        try:
            row.lease_token = UUID(shown[row.pk])
        except ValueError:
            row.lease_token = None  # of no row
    return row


def _each(
    act: Act, rows: Sequence[Model], who: str, data: dict[str, Any]
) -> Iterator[tuple[Model, bool, str]]:
    for row in rows:
        try:
            yield row, True, act.carry_out(row, who, data)
        except (ReviewRefused, IdempotencyError) as error:
            yield row, False, described(error)


def _leading_to(act: Act) -> Callable[..., HttpResponse]:
    """Return the admin's action that leads to the act's page, with the rows that are ticked."""

    def lead(pages: ActPages, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        chosen = ",".join(str(pk) for pk in rows.values_list("pk", flat=True)[:MOST_AT_ONCE])
        return redirect(pages._url(act, f"{CHOSEN}={chosen}"))

    return lead
