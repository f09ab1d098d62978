"""The admin for a table that grows without end and is never edited by hand.

Its list reads one page of rows and nothing else: no count of a million rows, and no offset to skip
over them. Apart from the pages of the single tables, and usable for a project's own.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

OLDER_THAN = "id__lt"

LOOKED_THROUGH = 100_000
"""How many rows a page looks through for a filter that no index serves; the next page goes on."""


class KeysetChangeList(ChangeList):
    """The newest rows, or those older than the last one of the page before."""

    looked_through = f"{LOOKED_THROUGH:,}"
    looked_down_to: int | None = None
    """Where the page stopped looking, if not at the end of the table."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return ["-id"]

    def get_results(self, request: HttpRequest) -> None:
        rows = list(self.within_reach()[: self.list_per_page + 1])
        self.result_list = rows[: self.list_per_page]
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_full_result_count = False
        self.show_admin_actions = bool(rows)
        self.can_show_all = self.multi_page = False
        self.has_older = len(rows) > self.list_per_page

    def within_reach(self) -> QuerySet[Any]:
        """Return the page's rows: where they are looked through, those among the next so many."""
        if not any(getattr(spec, "looks_through", False) for spec in self._active_filters()):
            return self.queryset
        top = int(self.params.get(OLDER_THAN, 0)) or self._newest() + 1
        if top > LOOKED_THROUGH:
            self.looked_down_to = top - LOOKED_THROUGH
            return self.queryset.filter(pk__gte=self.looked_down_to)
        return self.queryset

    def _active_filters(self) -> list[Any]:
        return [spec for spec in self.filter_specs if getattr(spec, "value", lambda: None)()]

    def _newest(self) -> int:
        newest = self.root_queryset.order_by("-pk").values_list("pk", flat=True).first()
        return newest or 0

    @property
    def older_url(self) -> str | None:
        """Return the address of the next page, if there is one."""
        if self.has_older:
            return self.get_query_string({OLDER_THAN: self.result_list[-1].pk})
        if self.looked_down_to is not None:
            return self.get_query_string({OLDER_THAN: self.looked_down_to})
        return None

    @property
    def newest_url(self) -> str | None:
        """Return the address of the first page, seen from any other."""
        if OLDER_THAN not in self.params:
            return None
        return self.get_query_string(remove=[OLDER_THAN])


class KeysetAdmin(admin.ModelAdmin):
    """A list that is as fast on its last page as on its first."""

    list_per_page = 50
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they count
    search_fields = ("id",)  # shows the search box; `matching` says what is searched

    class Media:
        css = {"all": ["idempotency/admin.css"]}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeysetChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip().replace("\0", "")
        return (queryset.filter(self.matching_for(request, term)) if term else queryset), False

    def matching_for(self, request: HttpRequest, term: str) -> Q:
        """Say what a search finds for whoever asks; for everybody the same, unless overridden."""
        return self.matching(term)

    def matching(self, term: str) -> Q:
        """Say what a search finds: by an id, unless a subclass overrides this."""
        return Q(pk=term) if is_id(term) else Q(pk__in=[])


def moment_of(field: str) -> Callable[[Any, Any], str]:
    """Return a column that shows a time to the second, which the admin's usual format hides."""

    @admin.display(description=field.removesuffix("_at").replace("_", " "))
    def moment(self: Any, row: Any) -> str:
        at = getattr(row, field)
        return f"{at:%Y-%m-%d %H:%M:%S}" if at else "-"

    return moment


class ReadOnlyAdmin(KeysetAdmin):
    """To read, never to write: a row changed by hand would break a promise."""

    actions: Sequence[str] | None = None
    created = moment_of("created_at")
    linked_by: Sequence[str] = ()
    """What links to the list ask it for besides its filters."""

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        """Allow the list's own filters and links, and nothing else.

        Django allows any of a row's own fields in the address: so what is masked could be guessed
        letter by letter, and a statement without an index asked for.
        """
        filters = (getattr(each, "parameter_name", None) for each in self.list_filter)
        return lookup in (OLDER_THAN, *self.linked_by, *filters)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


Choices = dict[str, tuple[str, Q | Callable[[], Q]]]
"""The values of a filter, as they stand in the address, each with its label and its condition."""


def choices(
    title: str,
    values: Choices | Callable[[], Choices],
    *,
    name: str | None = None,
    looks_through: bool | Collection[str] = False,
) -> type[admin.SimpleListFilter]:
    """Return a filter of a list, for its `list_filter`.

    Args:
        values: the choices, or what returns them for a request.
        name: what it is called in the address, if not by its title.
        looks_through: whether no index leads to what it selects, or to what which of the choices
            select, so that a page looks through the latest rows and says where it stopped.
    """

    class Filter(admin.SimpleListFilter):
        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(value, label) for value, (label, _) in self.values().items()]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            _, condition = self.values().get(self.value() or "", ("", Q()))
            return queryset.filter(condition() if callable(condition) else condition)

        def values(self) -> Choices:
            return values() if callable(values) else values

        @property
        def looks_through(self) -> bool:
            if isinstance(looks_through, bool):
                return looks_through
            return self.value() in looks_through

    Filter.title = title
    Filter.parameter_name = name or title.replace(" ", "_")
    return Filter


# By the database's clock. Only recent rows: they are the first ones that the list meets on its way
# back. Older ones would have it read the whole table, unless an index leads to them.
AGES: Choices = {
    "hour": ("Up to an hour", Q(created_at__gte=Now() - timedelta(hours=1))),
    "day": ("Up to a day", Q(created_at__gte=Now() - timedelta(days=1))),
    "3-days": ("Up to three days", Q(created_at__gte=Now() - timedelta(days=3))),
}
AgeFilter = choices("age", AGES)


def is_id(term: str) -> bool:
    """Say whether what someone typed can be the id of a row."""
    return term.isascii() and term.isdigit() and len(term) <= 18


def link_to(row: Model, text: str | None = None) -> SafeString:
    """Return a link to a row's page, or its text alone where the admin has no such page."""
    try:
        url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    except NoReverseMatch:
        return format_html("{}", text or row)
    return format_html('<a href="{}">{}</a>', url, text or row)
