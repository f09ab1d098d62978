"""Each address of the admin, by role and by method: who may look or act, and what is masked."""

import uuid
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db.models.functions import Now
from django.test import Client
from django.urls import get_resolver

from idempotency.console.roles import make_roles
from idempotency.models import IdempotencyKey, JobDelivery, ReviewDecision, StagedJob
from idempotency.support.permissions import LOOKED
from rides.apikeys.keys import issue_key
from rides.models import User
from rides.tests.booking import every_row
from rides.tests.factories import AuditRecordFactory, IdempotencyKeyFactory, RideFactory

pytestmark = pytest.mark.django_db(transaction=True)

EMAIL = "somebody@example.com"
PLACE = "37.7793"
ORIGIN = "203.0.113.9"
ANSWER = "words of an answer"
PARAMETER = "a parameter of the request"
PERSONAL = (EMAIL, PLACE, ORIGIN, ANSWER, PARAMETER)

# Who gets in by GET: V viewer, O operator, A admin, S superuser. Everybody else of the staff is
# refused (403), and who is none is led to the login.
SEEN = {
    "overview/": "VOAS",
    "idempotencykey/": "VOAS",
    "idempotencykey/<key>/change/": "VOAS",
    "idempotencykey/<key>/history/": "VOAS",
    "idempotencykey/act/run-now/": "OAS",
    "idempotencykey/act/let-go/": "OAS",
    "idempotencykey/<listed>/ask/": "OAS",
    "idempotencykey/<listed>/decide/run-again/": "OAS",
    "idempotencykey/<listed>/decide/close/": "OAS",
    "requestunderreview/": "VOAS",
    "requestunderreview/act/run-again/": "OAS",
    "requestunderreview/act/undo/": "OAS",
    "requestunderreview/act/close/": "OAS",
    "reviewdecision/": "VOAS",
    "reviewdecision/<decision>/change/": "VOAS",
    "stagedjob/": "VOAS",
    "stagedjob/<staged>/change/": "VOAS",
    "jobdelivery/": "VOAS",
    "jobdelivery/<aside>/change/": "VOAS",
    "jobdelivery/act/put-back/": "OAS",
    "/admin/rides/ride/": "VOAS",
    "/admin/rides/ride/<ride>/change/": "VOAS",
    "/admin/rides/auditrecord/": "VOAS",
    "/admin/rides/auditrecord/<record>/change/": "VOAS",
    "/admin/rides/refund/": "VOAS",
    "/admin/rides/dispute/": "VOAS",
    "/admin/rides/user/": "AS",
    "/admin/rides/user/<user>/change/": "AS",
    "/admin/rides/user/add/": "S",
    "/admin/rides/apikey/": "AS",
    "/admin/rides/apikey/add/": "AS",
    "/admin/auth/group/": "S",
    "/admin/auth/group/add/": "S",
    "/admin/django_tasks_database/dbtaskresult/": "S",
}
NOBODY = ("add/", "<key>/delete/")
"""Of each of the app's own lists: nobody makes or removes a row by hand."""

ROLES = {"V": "console viewer", "O": "console operator", "A": "console admin"}


@pytest.fixture(autouse=True)
def made_roles() -> None:
    """As `migrate` leaves them."""
    for label in ("idempotency", "rides"):
        make_roles(app_config=apps.get_app_config(label))


@pytest.fixture
def world() -> dict[str, Any]:
    """A row of each kind, with marked values in what is personal."""
    rider = User.objects.create_user(EMAIL, stripe_customer_id="cus_1")
    key = IdempotencyKeyFactory(
        user=rider,
        origin_ip=ORIGIN,
        request_params={"note": PARAMETER},
        recovery_point="finished",
        response_code=201,
        response_body=ANSWER.encode(),
        response_content_type="text/plain",
    )
    listed = IdempotencyKeyFactory(
        user=rider, needs_review_at=Now(), request_params={"note": PARAMETER}
    )
    ride = RideFactory(user=rider, idempotency_key=key, origin_ip=ORIGIN)
    job = {"job_name": "x", "job_args": {}}
    issue_key(rider, "a laptop")
    return {
        "key": key.pk,
        "listed": listed.pk,
        "ride": ride.pk,
        "record": AuditRecordFactory(user=rider, resource_id=ride.pk).pk,
        "user": rider.pk,
        "decision": ReviewDecision.objects.create(
            idempotency_key_id=key.pk,
            foreign_key=key.foreign_key,
            action="close",
            reviewer="ann",
            reason="why",
        ).pk,
        "staged": StagedJob.objects.create(job_id=uuid.uuid4(), **job).pk,
        "aside": JobDelivery.objects.create(
            job_id=uuid.uuid4(), set_aside_at=Now(), deliveries=10, **job
        ).pk,
    }


def staff(letter: str) -> Client:
    client = Client()
    if letter == "S":
        client.force_login(User.objects.create_superuser("super@example.com"))
        return client
    person = User.objects.create_user(f"{letter.lower()}@example.com", is_staff=True)
    if letter in ROLES:
        person.groups.add(Group.objects.get(name=ROLES[letter]))
    client.force_login(person)
    return client


def address_of(name: str, world: dict[str, Any]) -> str:
    for what, number in world.items():
        name = name.replace(f"<{what}>", str(number))
    return name if name.startswith("/") else f"/admin/idempotency/{name}"


def rows() -> dict[str, Any]:
    """All rows but those of the admin's own log and sessions."""
    kept = every_row()
    return {name: kept[name] for name in kept if name not in ("django_admin_log", "django_session")}


@pytest.mark.parametrize("letter", ["V", "O", "A", "S", "X"])
def test_who_may_see_which_address(world, letter):
    client = staff(letter)
    seen = {}
    for name, letters in SEEN.items():
        expected = 200 if letter in letters else 403
        status = client.get(address_of(name, world)).status_code
        if status != expected:
            seen[name] = (status, expected)
    assert seen == {}


@pytest.mark.parametrize("letter", ["V", "X"])
def test_who_may_only_look_changes_nothing_by_any_method(world, letter):
    client = staff(letter)
    before = rows()
    for name in SEEN:
        for method in ("post", "put", "patch", "delete"):
            send = getattr(client, method)
            data = {"reason": "why", "limit": 10, "action": "run-now", "_selected_action": 1}
            options = {"data": data} if method == "post" else {}
            assert send(address_of(name, world), **options).status_code in (200, 302, 403, 405)
    assert rows() == before


@pytest.mark.parametrize("letter", ["V", "O", "A", "S"])
def test_nobody_makes_or_removes_a_row_by_hand(world, letter):
    client = staff(letter)
    for model in ("overview", "idempotencykey", "requestunderreview", "stagedjob", "jobdelivery"):
        for name in NOBODY:
            address = address_of(f"{model}/{name}", world)
            assert client.get(address).status_code in (302, 403, 404), address
            assert client.post(address, {"post": "yes"}).status_code in (302, 403, 404), address
    assert IdempotencyKey.objects.count() == 2


@pytest.mark.parametrize(
    ("who", "expected"), [("nobody", 302), ("a rider", 302), ("an API key", 302)]
)
def test_who_is_no_staff_is_led_to_the_login(world, who, expected):
    client = Client()
    if who == "a rider":
        client.force_login(User.objects.get(email=EMAIL))
    if who == "an API key":
        _, key = issue_key(User.objects.get(email=EMAIL), "another")
        client = Client(headers={"Authorization": f"Bearer {key}"})
    for name in SEEN:
        answer = client.get(address_of(name, world))
        assert answer.status_code == expected
        assert answer.headers["Location"].startswith("/admin/login/")


def test_every_address_of_the_console_is_in_the_table():
    """One that is added without a row here fails."""
    patterns = [
        str(pattern.pattern)
        for resolver in get_resolver().url_patterns
        if str(resolver.pattern) == "admin/"
        for app in resolver.url_patterns
        if str(app.pattern).startswith("idempotency/")
        for pattern in app.url_patterns
    ]
    ours = {
        name
        for name in patterns
        if not any(known in name for known in ("add/", "delete/", "history/", "object_id", "auto"))
    }
    assert ours - {"", "<path:object_id>/"} == {
        "act/<slug:slug>/",
        "<int:key_id>/ask/",
        "<int:key_id>/decide/<slug:slug>/",
        "<str:name>/decide/<slug:slug>/",
    }


# Personal data.


def pages(client: Client, world: dict[str, Any]) -> dict[str, str]:
    names = [name for name in SEEN if "user" not in name and "apikey" not in name]
    answers = {name: client.get(address_of(name, world)) for name in names}
    return {name: a.content.decode() for name, a in answers.items() if a.status_code == 200}


def test_a_viewer_sees_no_personal_data_on_any_page(world):
    for name, page in pages(staff("V"), world).items():
        for canary in PERSONAL:
            assert canary not in page, f"{canary} at {name}"


def test_an_operator_sees_it_and_the_look_is_recorded(world):
    client = staff("O")
    page = client.get(address_of("idempotencykey/<key>/change/", world)).content.decode()

    assert all(canary in page for canary in (EMAIL, ORIGIN, ANSWER, PARAMETER))
    look = LogEntry.objects.get()
    assert (look.user.email, look.object_id) == ("o@example.com", str(world["key"]))
    assert look.change_message == LOOKED


def test_a_viewers_look_at_what_is_masked_is_not_recorded(world):
    staff("V").get(address_of("idempotencykey/<key>/change/", world))

    assert not LogEntry.objects.exists()


def test_who_may_decide_and_not_see_decides_by_numbers(world):
    person = User.objects.create_user("d@example.com", is_staff=True)
    group = Group.objects.get(name="console operator")
    allowed = group.permissions.exclude(codename="see_personal_data")
    person.user_permissions.set(allowed)
    client = Client()
    client.force_login(person)
    address = address_of("idempotencykey/<listed>/decide/close/", world)
    page = client.get(address).content.decode()

    assert f"user {world['user']}" in page
    assert not any(canary in page for canary in PERSONAL)


# The groups.


def test_a_later_migrate_adds_what_is_lacking_and_takes_nothing_away():
    viewer = Group.objects.get(name="console viewer")
    lost = viewer.permissions.get(codename="view_ride")
    given = Group.objects.get(name="console admin").permissions.get(codename="view_user")
    viewer.permissions.remove(lost)
    viewer.permissions.add(given)

    call_command("migrate", verbosity=0)

    assert {lost, given} <= set(viewer.permissions.all())
    viewer.permissions.remove(given)


def test_each_role_has_what_the_one_below_it_has():
    of = {name: set(Group.objects.get(name=name).permissions.all()) for name in ROLES.values()}

    viewer, operator, admin = (of[name] for name in ROLES.values())
    assert viewer < operator < admin
    assert not {p.codename for p in viewer} & {"see_personal_data", "change_idempotencykey"}
