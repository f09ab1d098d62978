"""`/healthz` and `/readyz`, as a project mounts them."""

from collections.abc import Iterator, Sequence

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.urls import path

from idempotency import stopping
from idempotency.doors import Reading
from idempotency.http import health

pytestmark = pytest.mark.django_db

urlpatterns = [path("healthz", health.healthz), path("readyz", health.readyz)]


@pytest.fixture(autouse=True)
def process_that_goes_on() -> Iterator[None]:
    yield
    stopping.forget()


def doors() -> Sequence[str]:
    return ["The doors are closed."]


def slow_clock() -> Sequence[str]:
    return ["A clock is slow."]


def complaints() -> tuple[int, list[str]]:
    answer = Client().get("/readyz")
    assert answer.json()["ready"] is (answer.status_code == 200)
    return answer.status_code, answer.json()["complaints"]


def test_an_instance_that_can_serve_is_ready():
    assert complaints() == (200, [])


@pytest.mark.parametrize("method", ["get", "head", "post", "options"])
def test_whoever_watches_asks_by_any_method_and_without_a_token(method):
    client = Client(enforce_csrf_checks=True)

    for address in ("/healthz", "/readyz"):
        assert getattr(client, method)(address).status_code == 200


def test_an_instance_that_was_asked_to_stop_is_alive_and_not_ready():
    stopping.begin()

    assert complaints() == (503, ["The process was asked to stop."])
    assert Client().get("/healthz").status_code == 200


def test_an_instance_without_its_database_is_alive_and_not_ready(monkeypatch):
    def refuse(*_: object) -> None:
        raise OperationalError

    monkeypatch.setattr(connection, "cursor", refuse)

    assert complaints() == (503, ["The database does not answer."])
    assert Client().get("/healthz").status_code == 200


def test_an_instance_whose_database_lacks_a_migration_is_not_ready(monkeypatch):
    monkeypatch.setattr(health._migrated, "is_set", lambda: False)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'idempotency'")

    assert complaints() == (503, ["The database lacks migrations of this code."])


def test_a_project_adds_checks_of_its_own(settings):
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "READINESS_CHECKS": ("idempotency.tests.test_health.doors",),
    }

    assert complaints() == (503, ["The doors are closed."])


def test_an_instance_behind_closed_doors_is_not_ready(monkeypatch):
    monkeypatch.setattr("idempotency.doors.as_last_read", lambda: Reading(are_closed=True))

    assert complaints() == (503, ["The doors are closed."])


def test_a_warning_is_told_and_takes_no_instance_out(settings):
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "READINESS_WARNINGS": ("idempotency.tests.test_health.slow_clock",),
    }

    answer = Client().get("/readyz")

    assert (answer.status_code, answer.json()["warnings"]) == (200, ["A clock is slow."])
