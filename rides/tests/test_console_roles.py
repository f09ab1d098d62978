"""Each address of the admin by role: who may look, and what is masked."""

import uuid
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db.models.functions import Now
from django.test import Client
from django_tasks_db.models import DBTaskResult, get_date_max

from idempotency.console.roles import make_roles
from idempotency.models import Heartbeat, JobDelivery, ReviewDecision, StagedJob
from idempotency.support.permissions import LOOKED
from rides.apikeys.keys import issue_key
from rides.models import Dispute, Refund, User
from rides.tests.factories import AuditRecordFactory, IdempotencyKeyFactory, RideFactory

pytestmark = pytest.mark.django_db(transaction=True)

EMAIL = "somebody@example.com"
PLACE = "37.7793"
ORIGIN = "203.0.113.9"
ANSWER = "words of an answer"
PARAMETER = "a parameter of the request"
PERSONAL = (EMAIL, PLACE, ORIGIN, ANSWER, PARAMETER)

Seen = dict[str, str]
"""By address, the letters of those who get in."""

# Who gets in by GET: V viewer, O operator, A admin, S superuser. Everybody else of the staff is
# refused (403), and who is none is led to the login. X is of the staff and has no role.
ALL = "VOAS"


def of_model(path: str, row: str, seen: str = ALL, *, added: str = "", removed: str = "") -> Seen:
    """Return the addresses that the admin gives each model: by default nobody makes or removes a
    row by hand.
    """
    return {
        path: seen,
        f"{path}<{row}>/change/": seen,
        f"{path}<{row}>/history/": seen,
        f"{path}add/": added,
        f"{path}<{row}>/delete/": removed,
    }


SEEN: Seen = {
    "overview/": ALL,
    "overview/add/": "",
    "overview/<key>/delete/": "",
    **of_model("idempotencykey/", "key"),
    "idempotencykey/act/run-now/": "OAS",
    "idempotencykey/act/let-go/": "OAS",
    "idempotencykey/<listed>/ask/": "OAS",
    "idempotencykey/<listed>/decide/run-again/": "OAS",
    "idempotencykey/<listed>/decide/close/": "OAS",
    "requestunderreview/": ALL,
    "requestunderreview/add/": "",
    "requestunderreview/<listed>/history/": ALL,
    "requestunderreview/<listed>/delete/": "",
    "requestunderreview/act/run-again/": "OAS",
    "requestunderreview/act/undo/": "OAS",
    "requestunderreview/act/close/": "OAS",
    "requestunderreview/re_1/decide/settle/": "OAS",
    **of_model("reviewdecision/", "decision"),
    **of_model("stagedjob/", "staged"),
    **of_model("jobdelivery/", "aside"),
    "jobdelivery/act/put-back/": "OAS",
    **of_model("heartbeat/", "heartbeat"),
    **of_model("/admin/rides/ride/", "ride"),
    **of_model("/admin/rides/auditrecord/", "record"),
    **of_model("/admin/rides/refund/", "refund"),
    **of_model("/admin/rides/dispute/", "dispute"),
    **of_model("/admin/rides/user/", "user", "AS", added="S", removed="S"),
    "/admin/rides/user/<user>/password/": "S",
    **of_model("/admin/rides/apikey/", "apikey", "AS", added="AS"),
    **of_model("/admin/auth/group/", "group", "S", added="S", removed="S"),
    **of_model("/admin/django_tasks_database/dbtaskresult/", "result", "S"),
}

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
    api_key, _ = issue_key(rider, "a laptop")
    reversal = {
        "ride": ride,
        "amount_cents": 1,
        "currency": "usd",
        "status": "pending",
        "made_at": Now(),
    }
    result = DBTaskResult.objects.create(
        task_path="rides.tasks.send_ride_receipt",
        args_kwargs={"args": [], "kwargs": {}},
        backend_name="default",
        run_after=get_date_max(),
    )
    return {
        "key": key.pk,
        "listed": listed.pk,
        "ride": ride.pk,
        "record": AuditRecordFactory(user=rider, resource_id=ride.pk).pk,
        "user": rider.pk,
        "apikey": api_key.pk,
        "refund": Refund.objects.create(stripe_id="re_1", is_ours=True, **reversal).pk,
        "dispute": Dispute.objects.create(stripe_id="dp_1", **reversal).pk,
        "heartbeat": Heartbeat.objects.create(worker="api", host="a", pid=1, version="1").pk,
        "group": Group.objects.get(name=ROLES["V"]).pk,
        "result": result.pk,
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
