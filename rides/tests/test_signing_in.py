"""Signing in by password: ten wrong ones from an address, and it is refused for a while."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import Client

from rides.models import User
from rides.tests.booking import every_row

pytestmark = pytest.mark.django_db

EMAIL, PASSWORD = "ops@example.com", "a password of their own"
ALLOWED = 10


@pytest.fixture(autouse=True)
def ops(settings) -> User:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # at once
    return User.objects.create_superuser(EMAIL, PASSWORD)


def sign_in(password: str, address: str = "198.51.100.1", **options: Any) -> Any:
    form = {"username": EMAIL, "password": password}
    return Client().post("/admin/login/", form, REMOTE_ADDR=address, **options)


def fail(times: int, address: str = "198.51.100.1", **options: Any) -> list[int]:
    return [sign_in("wrong", address, **options).status_code for _ in range(times)]


def test_the_tenth_wrong_password_of_an_address_is_its_last_for_a_while():
    assert fail(ALLOWED + 1) == [200] * (ALLOWED - 1) + [429] * 2
    answer = sign_in(PASSWORD)

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "900")
    assert "Try again in 15 minutes" in answer.content.decode()
    assert "sessionid" not in answer.cookies
    assert sign_in(PASSWORD, "198.51.100.2").status_code == 302


def test_a_program_that_asks_for_no_page_gets_an_error_like_all_others():
    fail(ALLOWED)

    answer = sign_in("wrong", headers={"Accept": "application/json"})

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "900")
    told = json.loads(answer.content)
    assert (told["code"], told["retryable"]) == ("too_many_requests", True)


def test_who_waits_signs_in_again_whoever_else_went_on_trying(settings):
    settings.AXES_COOLOFF_TIME = timedelta(seconds=2)
    fail(ALLOWED)
    locked_at = time.monotonic()

    while time.monotonic() < locked_at + 1.5:
        assert fail(1) == [429]
        time.sleep(0.1)
    time.sleep(0.6)

    assert sign_in(PASSWORD).status_code == 302


def test_right_passwords_in_between_give_an_address_no_further_wrong_ones():
    fail(ALLOWED - 1)
    assert sign_in(PASSWORD).status_code == 302

    assert fail(1) == [429]


def test_who_is_refused_writes_nothing_and_asks_the_database_nothing(django_assert_num_queries):
    fail(ALLOWED)
    before = every_row()

    with django_assert_num_queries(0):
        assert fail(5) == [429] * 5

    assert every_row() == before


def test_behind_a_proxy_an_address_is_the_clients(settings):
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "TRUSTED_PROXIES": ("10.0.0.1",)}
    one, other = ({"X-Forwarded-For": f"9.9.9.9, 198.51.100.{n}"} for n in (1, 2))

    assert fail(ALLOWED, "10.0.0.1", headers=one)[-1] == 429
    assert sign_in(PASSWORD, "10.0.0.1", headers=one).status_code == 429
    assert sign_in(PASSWORD, "10.0.0.1", headers=other).status_code == 302


def test_nobody_is_believed_whose_address_is_no_proxys():
    answers = [
        sign_in("wrong", headers={"X-Forwarded-For": f"198.51.100.{n}"}) for n in range(ALLOWED)
    ]

    assert answers[-1].status_code == 429


def test_by_ipv6_all_of_a_clients_network_is_one_address():
    for n in range(ALLOWED):
        fail(1, f"2001:db8:0:1::{n + 1:x}")

    assert sign_in(PASSWORD, "2001:db8:0:1:ffff::1").status_code == 429
    assert sign_in(PASSWORD, "2001:db8:0:2::1").status_code == 302


def test_the_log_has_the_address_and_neither_password_nor_e_mail(caplog):
    fail(ALLOWED)

    assert "198.51.100.1" in caplog.text
    assert "Locking out" in caplog.text
    assert EMAIL not in caplog.text
    assert "wrong" not in caplog.text


def test_a_cache_that_processes_do_not_share_is_named_before_a_deploy(settings):
    def named() -> bool:
        checks = run_checks(include_deployment_checks=True)
        return "rides.W005" in [message.id for message in checks]

    assert named()
    backend = "django.core.cache.backends.db.DatabaseCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": "rides_cache"}}
    assert not named()
