"""List objects: newest first, in pages, filtered as Stripe's list calls are.

Source: https://docs.stripe.com/api/pagination
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice, takewhile
from math import inf

from sandbox.stripe.calls import Call
from sandbox.stripe.clock import CLOCK
from sandbox.stripe.errors import invalid
from sandbox.stripe.ledger import Resource
from sandbox.stripe.parameters import Parameters

PAGING = ("limit", "starting_after", "ending_before", "created", "expand")
DEFAULT_LIMIT = 10
MAX_LIMIT = 100


def list_page(call: Call, kind: str, **filters: str | None) -> Resource:
    """Return one page of the objects whose fields equal `filters` (None: any)."""
    limit = _read_limit(call.parameters)
    earliest, latest = _read_created(call.parameters)
    wanted = {name: value for name, value in filters.items() if value is not None}
    # Newest first, so the scan may end at the first object that is too old, however the clock was
    # set in between.
    end = earliest - CLOCK.moved_seconds
    recent = takewhile(lambda each: each["created"] >= end, _after_cursor(call, kind, wanted))
    matching = (each for each in recent if earliest <= each["created"] <= latest)
    page, has_more = _cut(call, kind, matching, limit)
    return {"object": "list", "url": call.path, "has_more": has_more, "data": page}


def _after_cursor(call: Call, kind: str, wanted: dict[str, str]) -> Iterator[Resource]:
    cursor = call.parameters.text("starting_after")
    if cursor is not None:
        call.ledger.get(kind, cursor, "starting_after")
    return call.ledger.newest_first(kind, before=cursor, **wanted)


def _cut(
    call: Call, kind: str, matching: Iterator[Resource], limit: int
) -> tuple[list[Resource], bool]:
    """Return the page, and whether there is more in the direction of paging."""
    cursor = call.parameters.text("ending_before")
    if cursor is None:
        page = list(islice(matching, limit + 1))
        return page[:limit], len(page) > limit
    call.ledger.get(kind, cursor, "ending_before")
    newer = deque(takewhile(lambda each: each["id"] != cursor, matching), maxlen=limit + 1)
    return list(newer)[-limit:], len(newer) > limit


def _read_limit(parameters: Parameters) -> int:
    limit = parameters.integer("limit")
    if limit is None:
        return DEFAULT_LIMIT
    if not 1 <= limit <= MAX_LIMIT:
        raise invalid(
            f"Invalid integer: limit must be from 1 to {MAX_LIMIT}.",
            code="parameter_invalid_integer",
            param="limit",
        )
    return limit


def _read_created(parameters: Parameters) -> tuple[float, float]:
    """Return the earliest and the latest `created` wanted, in Unix seconds, both included."""
    if parameters.is_nested("created"):
        created = parameters.nested("created")
        created.allow("gt", "gte", "lt", "lte")
        earliest = [created.integer("gte"), _plus(created.integer("gt"), 1)]
        latest = [created.integer("lte"), _plus(created.integer("lt"), -1)]
        return (
            max((bound for bound in earliest if bound is not None), default=-inf),
            min((bound for bound in latest if bound is not None), default=inf),
        )
    exact = parameters.integer("created")
    return (-inf, inf) if exact is None else (exact, exact)


def _plus(value: int | None, difference: int) -> int | None:
    return None if value is None else value + difference
