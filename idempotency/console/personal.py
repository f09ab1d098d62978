"""Personal data in the console: masked for whoever may not see it, and a look is recorded."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse

from idempotency.support.permissions import LOOKED, may_see_personal_data

MASKED = "masked"


class MasksPersonalData(admin.ModelAdmin):
    """Shows a stand-in for each field that is personal, unless whoever looks may see it."""

    personal: Mapping[str, str] = {}
    """The fields, each with the name of the method that is shown in its place."""

    def get_list_display(self, request: HttpRequest) -> Any:
        return self._as_seen(request, super().get_list_display(request))

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return [
            (title, {**options, "fields": self._as_seen(request, options["fields"])})
            for title, options in super().get_fieldsets(request, obj)
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (*super().get_readonly_fields(request, obj), *self.personal.values())

    def change_view(
        self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        response = super().change_view(request, object_id, *args, **kwargs)
        row = getattr(response, "context_data", {}).get("original")
        if row is not None and may_see_personal_data(request.user):
            self.log_change(request, row, LOOKED)
        return response

    def _as_seen(self, request: HttpRequest, names: Sequence[Any]) -> tuple[Any, ...]:
        if may_see_personal_data(request.user):
            return tuple(names)
        return tuple(self.personal.get(name, name) for name in names)


def stand_in_for(name: str) -> Callable[[Any, Any], str]:
    """Return a method that is shown in the place of a field."""

    @admin.display(description=name.replace("_", " "))
    def shown(self: Any, row: Any) -> str:
        return MASKED

    return shown


def number_of(relation: str) -> Callable[[Any, Any], str]:
    """Return a method that shows who a row belongs to by number alone."""

    @admin.display(description=relation)
    def shown(self: Any, row: Any) -> str:
        return f"{relation} {getattr(row, f'{relation}_id')}"

    return shown
