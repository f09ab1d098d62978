"""Every address that the admin serves, by every method, for every role: nothing fails, nobody gets
in who may not look, and nothing is written but by who may write it.
"""

from typing import Any

import pytest
from django.test import Client
from django.urls import resolve

from rides.tests.booking import every_row
from rides.tests.rights import patterns
from rides.tests.test_console_roles import SEEN, address_of, made_roles, staff, world

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["made_roles", "world"]

METHODS = ("get", "post", "put", "patch", "delete")

LED_ON = (
    *("overview/<key>/", "overview/<key>/change/", "overview/<key>/history/"),
    *("requestunderreview/<listed>/", "requestunderreview/<listed>/change/"),
    *("idempotencykey/<key>/", "reviewdecision/<decision>/"),
    *("stagedjob/<staged>/", "jobdelivery/<aside>/", "heartbeat/<heartbeat>/"),
    *("/admin/rides/ride/<ride>/", "/admin/rides/auditrecord/<record>/"),
    *("/admin/rides/refund/<refund>/", "/admin/rides/dispute/<dispute>/"),
    *("/admin/rides/user/<user>/", "/admin/rides/apikey/<apikey>/"),
    *("/admin/auth/group/<group>/", "/admin/django_tasks_database/dbtaskresult/<result>/"),
)
"""To another page, which has its own row in `SEEN`."""

DJANGOS_OWN = (
    *("/admin/", "/admin/idempotency/", "/admin/nothing-of-the-kind/", "/admin/jsi18n/"),
    *("/admin/autocomplete/", "/admin/r/1/1/"),
    *("/admin/password_change/", "/admin/password_change/done/", "/admin/login/"),
    "/admin/logout/",  # the last one
)
"""Of no row of ours."""

EVERYTHING = (*SEEN, *LED_ON, *DJANGOS_OWN)

OF_DECISIONS = {
    *("idempotency_idempotencykey", "idempotency_reviewdecision", "idempotency_jobdelivery"),
    *("rides_auditrecord", "rides_ride", "rides_refund"),
}
WRITES = {"V": set(), "X": set(), "O": OF_DECISIONS, "A": OF_DECISIONS}
"""The tables that each of the staff may change by its pages."""

OF_THE_ADMIN = ("django_admin_log", "django_session")


def rows() -> dict[str, Any]:
    """Return all rows but those of the admin's own log and sessions."""
    return {name: kept for name, kept in every_row().items() if name not in OF_THE_ADMIN}


def changed(before: dict[str, Any]) -> set[str]:
    after = rows()
    return {name for name in before if before[name] != after[name]}


def test_every_address_that_the_admin_serves_is_in_the_table(world):
    """One that is added without a row in `SEEN` fails."""
    served = {
        written
        for written, _ in patterns()
        if written.startswith("admin/") and "<app_label>" not in written  # /admin/idempotency/
    }
    known = {resolve(address_of(name, world)).route for name in EVERYTHING}

    assert served - known == set()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("letter", ["V", "O", "A", "S", "X"])
def test_an_empty_form_by_any_method_does_no_more_than_its_row_allows(world, letter, method):
    client = staff(letter)
    before = rows()
    odd = {}
    for name in EVERYTHING:
        status = getattr(client, method)(address_of(name, world)).status_code
        allowed = {200, 302, 403, 405}
        if name in SEEN:
            may_look = letter in SEEN[name]
            # A page that is to be read refuses a POST to whoever may read it.
            allowed = {200, 405, *([403] if method == "post" else [])} if may_look else {403}
        elif name in DJANGOS_OWN:
            allowed.add(404)
        if status not in allowed:
            odd[name] = status
    assert odd == {}
    assert changed(before) == set()


def a_full_form(world: dict[str, Any]) -> dict[str, Any]:
    """Return what any of the forms would take, with what it would be done to."""
    return {
        **{"reason": "why", "limit": 10, "status": 410, "message": "x", "name": "x"},
        **{"action": "run-now", "_selected_action": world["listed"], "post": "yes"},
        **{"shown": ",".join(f"{pk}:" for pk in world.values()), "lease_token": ""},
    }


@pytest.mark.parametrize("letter", ["V", "O", "A", "X"])
def test_a_full_form_changes_only_what_its_sender_may_change(world, letter):
    client = staff(letter)
    before = rows()
    for name in EVERYTHING:
        answer = client.post(address_of(name, world), a_full_form(world))
        assert answer.status_code in (200, 302, 403, 404, 405), name
    assert changed(before) <= WRITES[letter]


@pytest.mark.parametrize("method", METHODS)
def test_who_is_no_staff_gets_nowhere_by_any_method(world, method):
    before, client = rows(), Client()
    for name in (*SEEN, *LED_ON):
        answer = getattr(client, method)(address_of(name, world))
        # A redirect to a row's other page comes before the question who asks.
        assert answer.status_code == 302, name
        if name in SEEN:
            assert answer.headers["Location"].startswith("/admin/login/"), name
    assert changed(before) == set()
