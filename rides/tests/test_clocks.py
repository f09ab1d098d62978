"""Clocks that differ are told as a warning, by the check, in the log, and to whoever asks."""

import io
import logging
import re

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection

from rides.clocks import clock_warnings
from rides.payments import stripes_clock_ahead
from rides.tests.answering import answering_with

HOUR = 3600

pytestmark = pytest.mark.django_db(transaction=True)

DATABASE_CLOCK_AHEAD = """
CREATE SCHEMA another_clock;
CREATE FUNCTION another_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql
    AS $$ SELECT pg_catalog.clock_timestamp() + interval '%s seconds' $$;
SET search_path = another_clock, pg_catalog, public;
"""


@pytest.fixture
def set_database_clock():
    """Have the session's clock be ahead, as that of a server whose clock is wrong."""

    def set_ahead(seconds: float) -> None:
        with connection.cursor() as cursor:
            cursor.execute(DATABASE_CLOCK_AHEAD % seconds)

    yield set_ahead
    with connection.cursor() as cursor:
        cursor.execute("RESET search_path; DROP SCHEMA IF EXISTS another_clock CASCADE")


def test_clocks_that_agree_are_no_warning(stand_in):
    assert clock_warnings() == []


@pytest.mark.parametrize("ahead_seconds", [600, -600, 4 * HOUR, -4 * HOUR])
def test_stripes_clock_is_compared(stand_in, ahead_seconds):
    stand_in.set_clock(ahead_seconds)

    [warning] = clock_warnings()
    ahead = stripes_clock_ahead()
    assert ahead is not None
    assert ahead.total_seconds() == pytest.approx(ahead_seconds, abs=3)
    said = "ahead of" if ahead_seconds > 0 else "behind"
    assert re.match(rf"Stripe's clock is \d:\d\d:\d\d {said} the database's", warning)


@pytest.mark.not_in_a_cell("a function in another schema")
@pytest.mark.parametrize(("ahead_seconds", "said"), [(600, "ahead of"), (-600, "behind")])
def test_the_databases_clock_is_compared_with_the_process_and_with_stripe(
    stand_in, set_database_clock, ahead_seconds, said
):
    set_database_clock(ahead_seconds)

    of_process, of_stripe = clock_warnings()

    assert of_process.startswith("The database's clock is 0:10:00 " + said)
    assert of_stripe.startswith("Stripe's clock is")


@pytest.mark.not_in_a_cell("a function in another schema")
def test_a_few_seconds_at_stripe_and_in_the_database_are_no_warning(stand_in, set_database_clock):
    stand_in.set_clock(30)
    set_database_clock(3)

    assert clock_warnings() == []


def test_a_stripe_that_refuses_the_call_is_compared_all_the_same(stand_in, settings):
    settings.STRIPE_API_KEY = "sk_live_of_nobody"
    stand_in.set_clock(600)

    [warning] = clock_warnings()
    assert warning.startswith("Stripe's clock is")


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Nov 2026 00:00:00 GMT"])
def test_a_stripe_that_does_not_say_the_time_is_told_so(stand_in, settings, date):
    def say(request):
        request.send_response_only(200)
        request.send_header("Content-Length", "2")
        request.send_header("Date", date)
        request.end_headers()
        request.wfile.write(b"{}")

    with answering_with(say) as settings.STRIPE_API_BASE:
        assert clock_warnings() == ["Stripe's clock could not be read."]


def test_the_check_before_a_deploy_warns_and_refuses_nothing(stand_in):
    stand_in.set_clock(HOUR)

    [warning] = [m for m in run_checks(include_deployment_checks=True) if m.id == "rides.W001"]

    assert not warning.is_serious()
    assert "rides.W001" not in {message.id for message in run_checks()}


def test_a_stripe_that_does_not_answer_is_a_warning_too(settings, stand_in):
    stand_in.add_fault("reset_before")

    [warning] = [m for m in run_checks(include_deployment_checks=True) if m.id == "rides.W001"]

    assert warning.msg == "Stripe's clock could not be read."


def test_the_log_of_a_reconciliation_says_so(stand_in, caplog):
    stand_in.set_clock(HOUR)

    with caplog.at_level(logging.WARNING):
        call_command("reconcile", stdout=io.StringIO())

    assert "clocks differ: Stripe's clock is" in caplog.text
