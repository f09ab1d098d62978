"""Strings that mark where they came from are put in, and looked for wherever something comes out:
in the log, in each column of each table, in the journal, in the admin, and in what commands print.
"""

import io
import logging
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.apps import apps
from django.contrib.admin import site
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse

from idempotency.models import IdempotencyKey
from idempotency.phases import Response
from idempotency.review.decisions import Decision, close
from idempotency.testing.clock import let_time_pass
from idempotency.workers.completing import complete_due_keys
from idempotency.workers.reaping import reap
from rides import operations, payments
from rides.models import User
from rides.payments.client import connected_client
from rides.tests.booking import COORDINATES, every_row
from rocketrides.logs import LineFormatter
from sandbox.stripe.control import StandIn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

ADDRESS = "canary-rider@example.com"
WORDS = "canary-words"  # of errors: what a library, a driver or a row says
HEAD = "canary-head"  # of requests
SECRET = "canarysecret"
FORM = "application/x-www-form-urlencoded"
KEY = "canary-key-of-the-client"

MAY_STAND = {
    ADDRESS: {("rides_user", "email")},
    KEY: {("idempotency_idempotencykey", "idempotency_key")},
    WORDS: set(),
    HEAD: set(),
    SECRET: set(),
}
UNTIL_IT_IS_DUE = timedelta(hours=2)
LONG_AGO = timedelta(days=4)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that is logged, at every level, as the project writes it."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    # Django's own account of each statement is on while DEBUG is, on a developer's machine.
    logging.getLogger("django.db.backends").setLevel(logging.INFO)
    yield written
    root.removeHandler(handler)
    root.setLevel(before)
    logging.getLogger("django.db.backends").setLevel(logging.NOTSET)


@pytest.fixture
def rider(stand_in: StandIn, settings) -> User:
    connected_client.cache_clear()
    settings.STRIPE_API_KEY = f"sk_test_{SECRET}"
    settings.SECRET_KEY = SECRET * 3
    customer = payments.create_customer(email=ADDRESS, source="tok_visa")
    return User.objects.create_user(ADDRESS, stripe_customer_id=customer)


def book(number: int) -> int:
    heads = {
        "Authorization": ADDRESS,
        "Idempotency-Key": f"{KEY}-{number}",
        "User-Agent": HEAD,
        "Referer": f"https://example.com/{HEAD}",
        "Cookie": f"sessionid={HEAD}; other={HEAD}",
        "X-Anything": HEAD,
    }
    return Client().post("/rides", urlencode(COORDINATES), FORM, headers=heads).status_code


def fail_in_words(*_: object, **__: object) -> None:
    raise ValueError(f"{WORDS} of {ADDRESS}\n{WORDS} on a second line")


def fail_in_the_database(*_: object) -> None:
    """PostgreSQL repeats the row in DETAIL, and the statement in its log."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO rides_user (email, password, is_superuser, is_active, is_staff, "
            f"created_at) VALUES (%s, '{WORDS}', false, true, false, now())",
            [ADDRESS],
        )


def fail_at_a_value(*_: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT %s::int -- {WORDS}", [f"{WORDS}\n{ADDRESS}"])


@pytest.fixture
def everything_happened(rider: User, stand_in: StandIn, monkeypatch) -> None:
    """Requests that end in every way, and each worker on them."""
    assert book(1) == 201
    stand_in.add_fault("decline", times=1)
    assert book(2) == 402
    stand_in.add_fault("error_before", times=1)
    assert book(3) == 503
    with monkeypatch.context() as broken:
        broken.setattr(payments, "charge", fail_in_words)
        assert book(4) == 500
        let_time_pass(UNTIL_IT_IS_DUE)
        complete_due_keys(10)
    for number, failing in ((5, fail_in_the_database), (6, fail_at_a_value)):
        with monkeypatch.context() as broken:
            broken.setattr(operations.CreateRide, "record_charge", failing)
            assert book(number) == 500
    with monkeypatch.context() as broken:
        broken.setattr(operations.CreateRide, "clean_up", fail_in_words)
        let_time_pass(LONG_AGO)
        reap(10)
    key = IdempotencyKey.objects.filter(needs_review_at__isnull=False).latest("id")
    key.refresh_from_db()
    decision = Decision(
        key_id=key.pk,
        lease_token=key.lease_token,
        reviewer="boss@example.com",
        reason="It was us.",
    )
    close(decision, Response.error(409, "Closed.", code="closed"))


def test_nothing_of_them_is_where_it_should_not_be(log, everything_happened, client):
    found = [line for line in log.getvalue().splitlines() if "canary" in line]
    assert log.getvalue().count("phase failed") >= 4
    assert found == []

    for table, rows in every_row().items():
        for row in rows:
            for column, value in row.items():
                for canary, allowed in MAY_STAND.items():
                    if canary in str(value):
                        assert (table, column) in allowed, f"{canary} in {table}.{column}: {value}"

    printed = printed_by_commands()
    assert "The outcome of charge_rider" in printed or "not finished by the end" in printed
    for canary in (WORDS, HEAD, SECRET):
        assert canary not in printed

    client.force_login(User.objects.create_superuser("operator@example.com", "x"))
    for address, text in pages(client):
        for canary in (WORDS, HEAD, SECRET):
            assert canary not in text, f"{canary} at {address}"


def printed_by_commands() -> str:
    printed = io.StringIO()
    call_command("review", stdout=printed)
    for key in IdempotencyKey.objects.all():
        call_command("review", "show", str(key.pk), stdout=printed)
    try:
        call_command("reconcile", stdout=printed)
    except CommandError as error:
        printed.write(str(error))
    return printed.getvalue()


def pages(client: Client) -> Iterator[tuple[str, str]]:
    """Each list of the admin, and the page of each row."""
    for model in apps.get_models():
        if not site.is_registered(model):
            continue
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        lists = reverse(f"{name}_changelist")
        yield lists, client.get(lists).content.decode()
        for row in model._base_manager.all():
            address = reverse(f"{name}_change", args=[row.pk])
            yield address, client.get(address, follow=True).content.decode()
