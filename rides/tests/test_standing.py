"""Who Stripe takes us for is told before a deploy and by `/readyz`, and refuses nothing."""

import pytest
from django.core.checks import run_checks
from django.test import Client

from idempotency.watching import latest
from rides import watching
from rides.standing import standing_warnings
from rides.tests.answering import answering_with, saying
from sandbox.supervisor import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def told(message_id):
    return [m.msg for m in run_checks(include_deployment_checks=True) if m.id == message_id]


@pytest.fixture
def in_production(settings):
    settings.DEBUG = settings.STRIPE_STAND_IN = False


def test_the_check_before_a_deploy_says_who_we_are(stand_in):
    [said] = told("rides.I001")

    assert said.startswith("Stripe: account acct_standin, test mode, version 20")
    assert told("rides.W002") == []
    assert stand_in.calls()["calls"]["GET /v1/account"] == 2


def test_a_test_key_in_production_is_a_warning(stand_in, in_production):
    [warning] = standing_warnings()

    assert warning.startswith("Stripe is in test mode")


def test_a_key_that_stripe_refuses_is_a_warning_without_it(stand_in, settings):
    settings.STRIPE_API_KEY = "sk_live_canary"

    [warning] = told("rides.W002")

    assert "HTTP 401" in warning
    assert "canary" not in warning


@pytest.mark.parametrize(("status", "body"), [(404, b"<html>"), (200, b"[]"), (200, b'{"id": 5}')])
def test_something_else_in_stripes_place_is_a_warning(stand_in, answering, status, body):
    answering(status, body)

    [warning] = standing_warnings()
    assert warning.startswith("Stripe does not say who we are")


def test_another_version_is_a_warning(stand_in, settings):
    say = saying(200, b'{"id": "acct_1", "object": "account"}', Stripe_Version="2011-11-17")

    with answering_with(say) as settings.STRIPE_API_BASE:
        [warning] = standing_warnings()

    assert "version 2011-11-17" in warning


def test_an_instance_whose_key_is_refused_is_ready_and_says_so(stand_in, settings, monkeypatch):
    settings.STRIPE_API_KEY = "sk_live_canary"
    monkeypatch.setattr(watching, "_latest", [])
    monkeypatch.setattr(watching, "_ask_again_at", 0.0)

    Client().get("/readyz")
    wait_until(lambda: watching._latest)
    answer = Client().get("/readyz")

    assert answer.status_code == 200
    assert any("does not say who we are" in warning for warning in answer.json()["warnings"])


def test_an_alarm_is_a_warning_of_an_instance_that_is_ready(monkeypatch):
    monkeypatch.setattr(latest, "READINGS", latest.Readings())
    assert not any("not running" in said for said in Client().get("/readyz").json()["warnings"])
    wait_until(latest.READINGS.ended)

    answer = Client().get("/readyz")

    assert answer.status_code == 200
    assert "completer: not running" in answer.json()["warnings"]
