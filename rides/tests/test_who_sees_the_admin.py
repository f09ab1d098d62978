"""Who is no staff sees nothing of the admin but its sign-in, and changes nothing; nor do staff to
whom nobody has given a right.
"""

import re
from typing import Any

import pytest
from django.apps import apps
from django.test import Client

from rides.models import ApiKey, User
from rides.tests.booking import every_row
from rides.tests.factories import AuditRecordFactory, RideFactory
from rides.tests.rights import a_key, by_key, by_session, patterns

pytestmark = pytest.mark.django_db

ADDRESSES = [written for written, _ in patterns() if written.startswith("admin")]
SIGN_IN = "admin/login/"
# What staff have without any right: a page that is empty for them, and what is about themselves.
OF_ALL_STAFF = (
    *(SIGN_IN, "admin/logout/", "admin/", "admin/jsi18n/"),
    *("admin/password_change/", "admin/password_change/done/"),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

NO_STAFF = {
    "nobody": lambda rider: {},
    "a rider": by_session,
    "a rider's program": lambda rider: by_key(a_key(rider)),
}


@pytest.fixture
def rows(db: None) -> User:
    """A row of each kind that a page may show, and whose rider."""
    ride = RideFactory()
    AuditRecordFactory(user=ride.user)
    a_key(ride.user)
    return ride.user


def path_of(written: str) -> str:
    """Fill in what an address leaves open, with a row that there is."""
    written = re.sub(r"\^\(\?P<app_label>(\w+).*\$$", r"\1/", written)
    written = written.replace("(?P<url>.*)$", "nowhere/")
    named = re.match(r"admin/(\w+)/(\w+)/", written)
    is_of_a_model = named and named[1] in apps.app_configs
    row = apps.get_model(*named.groups())._base_manager.first() if is_of_a_model else None
    filled = re.sub(r"<(path:object_id|int:key_id|id)>", str(row.pk if row else 1), written)
    return "/" + re.sub(r"<[^>]+>", "1", filled.replace("<slug:slug>", "undo"))


def answers(written: str, headers: dict[str, str]) -> list[Any]:
    form = {"post": "yes", "action": "revoke", "_selected_action": "1", "reason": "none"}
    client = Client()  # which checks no CSRF token: it is the right that is to be missing
    return [
        client.generic(method, path_of(written), _encoded(form), FORM, headers=headers)
        for method in METHODS
    ]


FORM = "application/x-www-form-urlencoded"


def _encoded(form: dict[str, str]) -> str:
    return "&".join(f"{name}={value}" for name, value in form.items())


@pytest.mark.parametrize("who", NO_STAFF)
@pytest.mark.parametrize("written", [each for each in ADDRESSES if each != SIGN_IN])
def test_whoever_is_no_staff_is_led_to_the_sign_in(written, who, rows):
    headers = NO_STAFF[who](rows)
    before = every_row()

    for answer in answers(written, headers):
        assert answer.status_code in (302, 403)
        if answer.status_code == 302:
            assert answer.headers["Location"].startswith("/admin/")
    assert every_row() == before


@pytest.mark.parametrize("written", [each for each in ADDRESSES if each not in OF_ALL_STAFF])
def test_staff_without_a_right_see_and_change_nothing(written, rows):
    staff = User.objects.create_user("new@example.com", is_staff=True)
    headers = by_session(staff)
    before = every_row()

    for answer in answers(written, headers):
        assert answer.status_code in (302, 403, 404, 405)
        assert str(rows.email) not in answer.content.decode()
    assert every_row() == before


def test_the_sign_in_lets_no_rider_in(rows):
    rows.set_password("a password of theirs")
    rows.save()
    before = every_row()

    form = {"username": rows.email, "password": "a password of theirs"}
    answer = Client().post("/admin/login/", form)

    assert answer.status_code == 200
    assert "sessionid" not in answer.cookies
    assert every_row() == before


def test_a_key_that_staff_would_have_opens_no_page_of_the_admin(rows):
    key = by_key(a_key(rows))
    User.objects.update(is_staff=True, is_superuser=True)

    assert Client().get("/admin/rides/apikey/", headers=key).status_code == 302
    assert ApiKey.objects.filter(revoked_at=None).count() == 2
