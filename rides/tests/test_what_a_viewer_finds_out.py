"""What other consoles got wrong, tried on this one: what is masked and can be guessed or is shown
elsewhere, addresses that nobody links to, acts by a GET or from another site.
"""

import uuid
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from idempotency.models import IdempotencyKey, JobDelivery, StagedJob
from idempotency.support.permissions import LOOKED
from rides.models import User
from rides.tests.booking import every_row
from rides.tests.factories import IdempotencyKeyFactory
from rides.tests.test_console_roles import EMAIL, PARAMETER, PERSONAL, made_roles, staff, world

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["made_roles", "world"]

ADMIN = "/admin/idempotency/"
KEYS = f"{ADMIN}idempotencykey/"


def listed(client: Client, query: str) -> Any:
    answer = client.get(f"{KEYS}?{query}")
    if answer.status_code != 200:
        return answer.status_code
    return sorted(row.pk for row in answer.context["cl"].result_list)


# What a viewer may not see.


@pytest.mark.parametrize("page", ["change", "history", "delete"])
@pytest.mark.parametrize("model", ["overview", "requestunderreview", "idempotencykey"])
@pytest.mark.parametrize("which", ["key", "listed"])
def test_no_model_of_the_same_rows_shows_what_the_keys_page_masks(world, which, model, page):
    answer = staff("V").get(f"{ADMIN}{model}/{world[which]}/{page}/", follow=True)
    shown = answer.content.decode()

    assert [each for each in PERSONAL if each in shown] == []


@pytest.mark.parametrize(
    "query",
    [
        "origin_ip__startswith=203.0.113.9",
        "origin_ip=203.0.113.9",
        "request_params__note__startswith=a%20par",
        "request_params__icontains=a%20par",
        "response_body__isnull=False",
        "user__email__startswith=some",
        "user__password__startswith=pbk",
    ],
)
def test_what_is_masked_is_not_guessed_by_an_address(world, query):
    IdempotencyKeyFactory(
        user=User.objects.create_user("other@example.com", stripe_customer_id="cus_2"),
        origin_ip="192.0.2.1",
        request_params={"note": "z"},
    )
    assert listed(staff("V"), query) == 400


def test_who_may_not_see_names_finds_by_a_whole_one_only(world):
    viewer = staff("V")
    assert listed(viewer, "q=somebody@exa") == []
    assert listed(viewer, f"q={EMAIL}") == sorted([world["key"], world["listed"]])
    assert listed(staff("O"), "q=somebody@exa") == sorted([world["key"], world["listed"]])


@pytest.mark.parametrize("model", [StagedJob, JobDelivery])
def test_the_arguments_of_a_job_are_masked(world, model):
    job = {"job_name": "x", "job_args": {"kwargs": {"to": EMAIL}}}
    row = model.objects.create(job_id=uuid.uuid4(), **job)
    address = f"{ADMIN}{model._meta.model_name}/{row.pk}/change/"

    assert EMAIL not in staff("V").get(address).content.decode()
    assert EMAIL in staff("O").get(address).content.decode()


def test_the_path_of_a_request_is_masked_as_the_arguments_in_it_are(world):
    viewer, path = staff("V"), f"/people/{EMAIL}/orders"
    IdempotencyKey.objects.update(request_path=path, path_kwargs={"who": EMAIL})
    for address in ("", f"{world['key']}/change/", f"act/run-now/?chosen={world['listed']}"):
        assert EMAIL not in viewer.get(f"{KEYS}{address}").content.decode()


@pytest.mark.parametrize("page", ["ask", "decide/run-again"])
def test_a_look_at_the_page_of_a_decision_is_recorded(world, page):
    shown = staff("O").get(f"{KEYS}{world['listed']}/{page}/").content.decode()

    assert PARAMETER in shown
    assert LogEntry.objects.filter(change_message=LOOKED).count() == 1


# Addresses that nobody links to.


@pytest.mark.parametrize(
    "query",
    [
        "idempotency_key=%00",
        "idempotency_key__regex=(",
        "idempotency_key__regex=(a%2B)%2B%24",
        "last_error__contains=x",
        "created_at__gte=zzz",
        "nonsense=1",
        "id__lt=abc",
        "id__lt=",
        "id__lt=99999999999999999999999",
        "id__gte=%00",
        "user=99999999999999999999999",
        "error=had&id__lt=abc",
        "error=had&id__lt=0",
        "q=%00",
        "q=%ED%A0%80",
        "q=%E2%80%AE",
        "q=%C2%B2",
        "q=" + "a" * 4000,
        "q=" + "9" * 300,
        "o=1.2.-3&p=-1&all=&_facets=1",
    ],
)
@pytest.mark.parametrize("page", ["", "act/run-now/"])
def test_an_odd_address_is_refused_or_answered(world, page, query):
    client = staff("S")
    client.raise_request_exception = False
    assert client.get(f"{KEYS}{page}?{query}").status_code in (200, 302, 400)


@pytest.mark.parametrize("term", ["%", "_", "\\", "%" * 30, "a_b"])
def test_what_is_searched_for_is_no_pattern(world, term):
    IdempotencyKeyFactory(user=User.objects.get(email=EMAIL), idempotency_key="axb-" * 8)

    assert listed(staff("S"), f"q={quote(term)}") == []


# Acts, and what a browser keeps.


ACTS = (
    *("idempotencykey/", "idempotencykey/act/run-now/", "requestunderreview/act/close/"),
    *("jobdelivery/act/put-back/", "idempotencykey/<listed>/decide/close/"),
)


def test_nothing_is_done_by_a_get_or_from_another_site(world):
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("super@example.com"))
    before = {name: rows for name, rows in every_row().items() if not name.startswith("django_")}
    said = {"reason": "why", "limit": 10, "status": 410, "message": "x", "shown": "1:"}
    for name in ACTS:
        address = f"{ADMIN}{name}".replace("<listed>", str(world["listed"]))
        assert client.post(address, said).status_code == 403, address
        assert client.get(address).status_code == 200, address
    after = {name: rows for name, rows in every_row().items() if not name.startswith("django_")}
    assert after == before


def test_no_page_is_kept_by_a_browser_or_shown_in_a_frame(world):
    client = staff("O")
    for name in (*ACTS, "overview/?part=1", "idempotencykey/<listed>/ask/"):
        answer = client.get(f"{ADMIN}{name}".replace("<listed>", str(world["listed"])))
        assert "no-store" in answer.headers["Cache-Control"], name
        assert answer.headers["X-Frame-Options"] == "DENY", name


def test_the_words_of_a_job_are_text(world):
    client, script = staff("S"), "<script>alert(1)</script>"
    row = StagedJob.objects.create(job_id=uuid.uuid4(), job_name=script, job_args={"a": script})
    for page in (f"{row.pk}/change/", ""):
        assert script not in client.get(f"{ADMIN}stagedjob/{page}").content.decode()
