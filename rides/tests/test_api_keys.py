"""API keys: what opens the API where there is no demonstration and no browser."""

import io
import re
from datetime import timedelta
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from rides.apikeys import keys
from rides.apikeys.keys import issue_key, revoke_key
from rides.models import ApiKey, User
from rides.tests.booking import ask
from rides.tests.factories import RiderFactory

pytestmark = pytest.mark.django_db

A_DAY = timedelta(days=1)
A_KEY_OF_NOBODYS = "rr_test_1_" + "0" * 12 + "_" + "0" * 64


@pytest.fixture(autouse=True)
def production(settings):
    settings.DEMO_AUTH = False


@pytest.fixture
def ann() -> User:
    return RiderFactory(email="ann@example.com")


def see(key: str):
    return Client().get("/rides", headers={"Authorization": f"Bearer {key}"})


def command(*words: str) -> str:
    said = io.StringIO()
    call_command("apikey", *words, stdout=said, stderr=io.StringIO())
    return said.getvalue()


@pytest.mark.django_db(transaction=True)
def test_a_rider_books_with_a_key_where_nothing_of_a_demonstration_is_on(rider, stand_in):
    _, key = issue_key(rider, "the till")

    assert ask(rider=f"Bearer {key}").status_code == 201
    assert len(see(key).json()["rides"]) == 1


def test_an_api_key_is_in_no_row(ann):
    row, key = issue_key(ann, "the till")

    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(rides_apikey)::text FROM rides_apikey")
        [[stored]] = cursor.fetchall()
    assert key.rpartition("_")[2] not in stored
    assert re.fullmatch(rf"rr_test_1_{row.prefix}_[0-9a-f]{{64}}", key)


def wrong(key: str) -> str:
    return key[:-1] + ("0" if key[-1] != "0" else "1")


REFUSED = {
    "unknown": lambda row, key: key.replace(row.prefix, "0" * 12),
    "wrong": lambda row, key: wrong(key),
    "revoked": lambda row, key: revoke_key(row.prefix) and key,
    "expired": lambda row, key: ApiKey.objects.update(expires_at=timezone.now()) and key,
    "of the other mode": lambda row, key: key.replace("rr_test", "rr_live"),
    "of another cell": lambda row, key: key.replace("rr_test_1_", "rr_test_2_"),
    "of a rider who was shut out": lambda row, key: User.objects.update(is_active=False) and key,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_opens_nothing_is_the_same_401_after_the_same_work(ann, kind):
    row, key = issue_key(ann, "the till")
    sent = REFUSED[kind](row, key)
    statements: list[str] = []

    def note(execute, sql, params, many, context):
        statements.append(sql)
        return execute(sql, params, many, context)

    real = keys.hmac.compare_digest
    with patch.object(keys.hmac, "compare_digest", wraps=real) as compare:
        with connection.execute_wrapper(note):
            answer = see(sent)
        compared = compare.call_count

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.content == see(A_KEY_OF_NOBODYS).content
    assert len(statements) == compared == 1


@pytest.mark.parametrize("key", ["rr_", "rr_test_1_x_y", "rr_test_01_" + "0" * 77, "rr_\x00"])
def test_what_has_not_the_shape_of_a_key_asks_the_database_nothing(key, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert see(key).status_code == 401


def test_a_keys_use_is_written_down_once_a_day(ann, django_assert_num_queries):
    row, key = issue_key(ann, "the till")

    see(key)
    row.refresh_from_db()
    assert row.last_used_on == timezone.now().date()

    with django_assert_num_queries(1 + 1):  # the credential, and no ride
        see(key)
    ApiKey.objects.update(last_used_on=timezone.now() - A_DAY)
    with django_assert_num_queries(1 + 1 + 1):
        see(key)


def test_a_key_with_an_end_opens_until_then(ann):
    _, key = issue_key(ann, "for a day", expires_at=timezone.now() + A_DAY)
    assert see(key).status_code == 200

    ApiKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert see(key).status_code == 401


# The command and the admin.


def test_the_command_makes_lists_and_revokes(ann):
    key = command("create", "Ann@example.com", "--name", "the till").strip()
    prefix = key.split("_")[3]
    assert see(key).status_code == 200

    listed = command("list", "ann@example.com")
    assert prefix in listed
    assert key.split("_")[4] not in listed

    assert command("revoke", prefix) == f"revoked={prefix}\n"
    assert see(key).status_code == 401
    with pytest.raises(CommandError, match="no key"):
        command("revoke", prefix)


def test_the_command_makes_none_for_whom_there_is_not():
    with pytest.raises(CommandError, match="no rider"):
        command("create", "nobody@example.com", "--name", "the till")


def test_the_admin_shows_a_new_key_once_and_revokes_it(ann, admin_client):
    made = admin_client.post(
        "/admin/rides/apikey/add/", {"user": ann.pk, "name": "the till"}, follow=True
    )
    [key] = re.findall(r"rr_test_1_[0-9a-f]{12}_[0-9a-f]{64}", made.content.decode())
    assert see(key).status_code == 200

    again = admin_client.get("/admin/rides/apikey/").content.decode()
    assert key.split("_")[4] not in again
    row = ApiKey.objects.get()
    admin_client.post("/admin/rides/apikey/", {"action": "revoke", "_selected_action": row.pk})

    assert see(key).status_code == 401
    assert admin_client.post(f"/admin/rides/apikey/{row.pk}/delete/").status_code == 403
