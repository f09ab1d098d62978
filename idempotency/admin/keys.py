"""Keys for an operator's eyes: where each stands, what happened to it, and what it left.

Read-only, but for the decisions on requests that need review, which keep the fence like everything
that moves a key.
"""

import json
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Case, CharField, Q, QuerySet, Value, When
from django.db.models.functions import Left
from django.db.models.lookups import StartsWith
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from idempotency.admin import searching
from idempotency.admin.filters import (
    UNDER_REVIEW,
    AttemptsFilter,
    ErrorFilter,
    KeyAgeFilter,
    OperationFilter,
    OutcomeFilter,
    RecoveryPointFilter,
    SavedFilter,
    StateFilter,
    states,
)
from idempotency.admin.lists import AgeFilter, KeysetChangeList, ReadOnlyAdmin, is_id, moment_of
from idempotency.admin.timeline import shortened, timeline_of, traces_of
from idempotency.console.acting import CLOSE, LET_GO, RUN_AGAIN, RUN_NOW, UNDO
from idempotency.console.acts import ActPages
from idempotency.console.personal import MasksPersonalData, number_of, stand_in_for
from idempotency.console.picture import picture_of
from idempotency.models import (
    IdempotencyKey,
    RequestUnderReview,
    ReviewDecision,
)
from idempotency.parameters import readable_parameters
from idempotency.review.pages import ReviewPages
from idempotency.review.row_pages import RowPages
from idempotency.support.permissions import may_see_personal_data

BEGINNING = 16
"""How many characters of a key the index `idempotency_key_beginning` has."""

MOST_USERS = 20
"""Of one name, or of one beginning: usually there is one."""


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(MasksPersonalData, ActPages, ReviewPages, ReadOnlyAdmin):
    """Show where each key stands in a list, and its timeline on a page."""

    acts = (RUN_NOW, LET_GO)
    personal = {
        **{"user": "user_number", "origin_ip": "masked_origin_ip"},
        **{name: f"masked_{name}" for name in ("arguments", "parameters", "answer")},
        "request_path": "masked_request_path",  # the arguments stand in it
    }
    user_number = number_of("user")
    masked_origin_ip = stand_in_for("origin_ip")
    masked_request_path = stand_in_for("request_path")
    masked_arguments = stand_in_for("of the address")
    masked_parameters = stand_in_for("parameters")
    masked_answer = stand_in_for("answer")

    list_display = ("short_key", "standing", "created", "user", "attempt", "response_code")
    list_filter = (
        *(SavedFilter, StateFilter, RecoveryPointFilter, OperationFilter),
        *(OutcomeFilter, AttemptsFilter, ErrorFilter, KeyAgeFilter),
    )
    list_select_related = ("user",)
    linked_by = ("user", "id__gte")
    last_run = moment_of("last_run_at")
    due = moment_of("run_after")
    locked = moment_of("locked_at")
    foreign_sent = moment_of("foreign_sent_at")
    needs_review = moment_of("needs_review_at")
    pending = moment_of("pending_since")
    gives_up = moment_of("gives_up_at")
    readonly_fields = (
        *("standing", "picture", "traces", "timeline", "arguments", "parameters", "answer"),
        *("created", "last_run", "due", "locked", "foreign_sent", "needs_review"),
        *("pending", "gives_up"),
    )
    fieldsets = (
        (
            None,
            {"fields": ("picture", "idempotency_key", "user", "standing", "traces", "timeline")},
        ),
        (
            "Progress",
            {
                "fields": (
                    *("recovery_point", "attempt", "created", "last_run", "due", "locked"),
                    *("foreign_key", "foreign_question", "foreign_sent"),
                    # Not what the client is told meanwhile, which may hold what only it is to have.
                    *("foreign_reference", "pending", "gives_up", "needs_review", "last_error"),
                )
            },
        ),
        ("Answer", {"fields": ("answer",)}),
        (
            "Request",
            {
                "fields": (
                    *("operation", "request_method", "request_path", "arguments", "parameters"),
                    *("origin_ip", "fingerprint"),
                )
            },
        ),
    )

    @property
    def search_help_text(self) -> str:  # type: ignore[override]
        known = ["The beginning of a key", "that of a user's name or e-mail address", "its number"]
        known += [said for said, _ in searching.WAYS]
        return f"{', '.join(known)}. A request id stands in the log: look for it there."

    def get_queryset(self, request: HttpRequest) -> QuerySet[IdempotencyKey]:
        cases = [When(condition, then=Value(state)) for state, condition in states().items()]
        keys = super().get_queryset(request)
        return keys.annotate(current_state=Case(*cases, output_field=CharField()))

    def matching_for(self, request: HttpRequest, term: str) -> Q:
        """Find a user by the beginning of a name for whoever may see names. To others it would tell
        them, letter by letter: they have to know the whole one.
        """
        by_number = Q(pk=term) if is_id(term) else Q()
        users = users_named(term, whole=not may_see_personal_data(request.user))
        by_user = Q(user__in=users) if users else Q()
        found = searching.ids_of(term)
        by_rows = Q(pk__in=found) if found else Q()
        return by_number | by_user | by_rows | beginning_with(term)

    @admin.display(description="key")
    def short_key(self, key: IdempotencyKey) -> SafeString:
        return format_html('<code title="{0}">{1}</code>', key, shortened(key.idempotency_key))

    @admin.display(description="state")
    def standing(self, key: Any) -> SafeString:
        state = key.current_state
        point = "" if key.is_finished else f" at {key.recovery_point}"
        css_class = state.replace(" ", "-")
        return format_html('<span class="key-state {}">{}{}</span>', css_class, state, point)

    @admin.display(description="what happened")
    def picture(self, key: IdempotencyKey) -> SafeString:
        return render_to_string("idempotency/picture.html", {"picture": picture_of(key)})

    @admin.display(description="timeline")
    def timeline(self, key: IdempotencyKey) -> SafeString:
        context = {"entries": timeline_of(key), "key": key}
        return render_to_string("idempotency/timeline.html", context)

    @admin.display(description="left behind")
    def traces(self, key: IdempotencyKey) -> SafeString:
        traces = list(traces_of(key, self.admin_site))
        return render_to_string("idempotency/traces.html", {"traces": traces})

    @admin.display(description="of the address")
    def arguments(self, key: IdempotencyKey) -> SafeString:
        return format_html("<pre>{}</pre>", _shown(key.path_kwargs))

    @admin.display(description="parameters")
    def parameters(self, key: IdempotencyKey) -> SafeString:
        return format_html("<pre>{}</pre>", _shown(key.request_params))

    @admin.display(description="answer")
    def answer(self, key: IdempotencyKey) -> SafeString | str:
        if key.response_code is None:
            return "none yet"
        if key.is_tombstone:
            return f"{key.response_code}; the reaper has removed its body, and the parameters"
        headers = {"Content-Type": key.response_content_type, **(key.response_headers or {})}
        head = "\n".join(f"{name}: {value}" for name, value in headers.items())
        return format_html("<pre>{}\n{}\n\n{}</pre>", key.response_code, head, _readable_body(key))


def _readable_body(key: IdempotencyKey) -> str:
    body = bytes(key.response_body or b"")
    try:
        return body.decode(HttpResponse(content_type=key.response_content_type).charset)
    except (UnicodeError, LookupError):
        return f"{len(body)} bytes"


def _shown(kept: dict[str, Any]) -> str:
    return json.dumps(readable_parameters(kept), indent=2, ensure_ascii=False)


def beginning_with(term: str) -> Q:
    """Select keys by their beginning, by the index that has the first characters of each."""
    first = Left("idempotency_key", BEGINNING)
    begins = Q(StartsWith(first, term[:BEGINNING]))
    return begins & Q(idempotency_key__startswith=term) if len(term) > BEGINNING else begins


def users_named(term: str, *, whole: bool = False) -> list[Any]:
    """Return the ids of the users whose name, or whose e-mail address, begins as the search term
    does, or is the term.

    They are read first, so that the keys are then found by the index that begins with the user.
    """
    if len(term) < searching.SHORTEST_NAME:
        return []
    model = get_user_model()
    names = {model.USERNAME_FIELD, model.get_email_field_name()}
    named, how = Q(), "exact" if whole else "startswith"
    for name in names & {field.name for field in model._meta.fields}:
        named |= Q(**{f"{name}__{how}": term}) | Q(**{f"{name}__{how}": term.lower()})
    return list(model._default_manager.filter(named).values_list("pk", flat=True)[:MOST_USERS])


class ReviewList(KeysetChangeList):
    """Leads to the key's own page, where the decisions are."""

    def url_for_result(self, result: Any) -> str:
        return reverse("admin:idempotency_idempotencykey_change", args=[result.pk])


@admin.register(RequestUnderReview)
class RequestUnderReviewAdmin(MasksPersonalData, RowPages, ActPages, ReadOnlyAdmin):
    """What the system could not finish by itself: since when, why, and how often it tried. And what
    of the project's waits beside the requests.
    """

    acts = (RUN_AGAIN, UNDO, CLOSE)
    personal = {"user": "user_number"}
    user_number = number_of("user")
    list_display = ("since", "last_error", "recovery_point", "attempt", "user", "created")
    list_select_related = ("user",)
    search_help_text = "As among all requests"
    since = moment_of("needs_review_at")
    matching_for = IdempotencyKeyAdmin.matching_for

    def get_queryset(self, request: HttpRequest) -> QuerySet[RequestUnderReview]:
        return super().get_queryset(request).filter(UNDER_REVIEW)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ReviewList]:
        return ReviewList

    def change_view(
        self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Redirect from the admin's generic page to the key's."""
        return HttpResponseRedirect(
            reverse("admin:idempotency_idempotencykey_change", args=[object_id])
        )


@admin.register(ReviewDecision)
class ReviewDecisionAdmin(ReadOnlyAdmin):
    """Who decided what, and why; kept for good."""

    list_display = ("created", "action", "idempotency_key_id", "reviewer", "reason")
    list_filter = (AgeFilter,)
    search_help_text = "A request's number, its foreign key, or a reviewer's whole name"
    fields = ("created", "action", "idempotency_key_id", "foreign_key", "reviewer", "reason")
    readonly_fields = ("created",)

    def matching(self, term: str) -> Q:
        if is_id(term):
            return Q(idempotency_key_id=term)
        try:
            return Q(foreign_key=UUID(term))
        except ValueError:
            return Q(reviewer=term)
