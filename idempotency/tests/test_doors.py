"""The doors: closed, every process does nothing, and learns of it at no request's expense."""

import io
import os
import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path

from idempotency import doors
from idempotency.database_errors import database_is_away
from idempotency.models import Doors, IdempotencyKey
from idempotency.testing.clock import let_time_pass
from idempotency.testing.processes import fork
from idempotency.tests import bookshop
from idempotency.tests.bookshop import Death, orders
from idempotency.tests.processes import run_command, started_command, wait_for_line
from idempotency.tests.test_views_of_ones_own import order_page
from idempotency.workers.completing import complete_due_keys

pytestmark = pytest.mark.django_db(transaction=True)

COMMANDS = ["completer", "enqueuer", "reaper"]
GRACE = timedelta(seconds=300)

urlpatterns = [*bookshop.urlpatterns, path("page", order_page)]


@pytest.fixture
def closed(monkeypatch):
    """This process has read that the doors are closed."""
    monkeypatch.setattr(doors, "as_last_read", lambda: doors.Reading(are_closed=True))


@pytest.fixture
def abandoned(customer, key, ledger):
    """A due request, whose process died after the payment."""
    with pytest.raises(Death):
        customer.send(key, dies_in="pay")
    let_time_pass(GRACE)


def command(*arguments):
    said = io.StringIO()
    call_command("doors", *arguments, stdout=said)
    return said.getvalue()


# The API.


def test_a_closed_api_answers_before_any_statement(customer, key, closed):
    with CaptureQueriesContext(connection) as statements:
        answer = customer.send(key)

    assert len(statements) == 0
    assert (answer.status_code, answer.json()["code"]) == (503, "doors_closed")
    assert answer.json()["retryable"] is True
    assert "closed" in answer.json()["error"]
    assert int(answer.headers["Retry-After"]) == doors.RETRY_AFTER_SECONDS


def test_not_even_a_replay_is_answered(customer, key, ledger, monkeypatch):
    customer.send(key)
    monkeypatch.setattr(doors, "as_last_read", lambda: doors.Reading(are_closed=True))

    assert customer.send(key).json()["code"] == "doors_closed"


def test_a_view_of_ones_own_is_closed_too(customer, key, ledger, closed):
    fields = {**customer.order, "key": key}

    answer = Client().post("/page", fields, headers={"Authorization": str(customer.user.pk)})

    assert (answer.status_code, answer.json()["code"]) == (503, "doors_closed")
    assert not IdempotencyKey.objects.exists()


def test_a_process_that_could_not_read_them_takes_no_request(customer, key, monkeypatch):
    def not_read():
        raise OperationalError("The doors could not be read: connection refused")

    monkeypatch.setattr(doors, "as_last_read", not_read)

    answer = customer.send(key)

    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")


# The workers.


@pytest.mark.parametrize("name", COMMANDS)
def test_a_closed_worker_does_nothing(name, abandoned, closed):
    said = io.StringIO()
    with CaptureQueriesContext(connection) as statements:
        call_command(name, "--once", stdout=said)

    assert said.getvalue() == "doors=closed\n"
    assert len(statements) == 0


def test_a_batch_ends_before_the_next_key_once_the_doors_are_closed(
    customer, key, ledger, monkeypatch
):
    for n in range(3):
        with pytest.raises(Death):
            customer.send(f"{key}-{n}", dies_in="pay")
    let_time_pass(GRACE)
    ledger.meanwhile(
        lambda: monkeypatch.setattr(doors, "as_last_read", lambda: doors.Reading(are_closed=True))
    )

    assert complete_due_keys(10).counts["succeeded"] == 1
    assert len([order for order in orders() if "payment" in order]) == 1


def test_a_real_process_follows_the_row(abandoned, customer, key):
    command("close")
    with started_command("completer", completer_idle_pause=0.1) as completer:
        wait_for_line(completer, "doors closed")
        assert not IdempotencyKey.objects.get().is_finished
        command("open")
        log = wait_for_line(completer, "succeeded=1")

    assert sum("doors open" in line for line in log) == 1
    assert IdempotencyKey.objects.get().is_finished


def test_a_cron_job_is_told_that_they_are_closed(abandoned):
    command("close", "--reason", "restoring")

    assert run_command("completer", "--once") == "doors=closed\n"


# Reading the row.


@pytest.fixture
def watch():
    """One that looks when it is told to, and in this thread."""
    return doors.Watch()


def test_the_last_reading_stays_where_the_row_cannot_be_read(watch, monkeypatch):
    command("close", "--reason", "restoring")
    watch.look()
    assert watch.last == doors.Reading(are_closed=True, reason="restoring")
    command("open")

    with monkeypatch.context() as broken:
        broken.setattr(doors, "READ_DOORS", "SELECT nothing FROM nowhere")
        watch.look()
        assert watch.last.are_closed
    watch.look()

    assert watch.last == doors.Reading(are_closed=False)


@pytest.mark.not_in_a_cell("it alters the database")
def test_a_server_that_takes_no_writes_is_not_believed(watch):
    """Such as the primary of yesterday, which has turned read-only and knows of no closed doors."""
    command("close")
    watch.look()
    command("open")

    with read_only_sessions():
        watch.look()

    assert watch.last.are_closed
    assert database_is_away(watch.error)


@contextmanager
def read_only_sessions():
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    connection.close()
    try:
        yield
    finally:
        connection.close()
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
            cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        connection.close()


def test_a_change_is_one_line_in_the_log(watch, caplog):
    watch.look()
    command("close", "--reason", "restoring")
    for _ in range(3):
        watch.look()
    command("open")
    for _ in range(3):
        watch.look()

    # This process may have a watch of its own, which looks too.
    here = [record for record in caplog.records if record.thread == threading.get_ident()]
    said = [record.getMessage() for record in here if record.name == doors.__name__]
    assert said == ["doors closed: nothing is begun any more: reason='restoring'", "doors open"]


def test_who_asks_first_waits_for_the_first_reading(monkeypatch):
    monkeypatch.undo()  # the plugin's open doors
    command("close", "--reason", "restoring")

    said = fork(lambda: doors.as_last_read(), after_fork=lambda: None)
    said.wait()

    assert said.result() == doors.Reading(are_closed=True, reason="restoring")


def test_a_process_that_has_never_read_them_does_not_know(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(doors, "READ_DOORS", "SELECT nothing FROM nowhere")

    def ask():
        try:
            doors.as_last_read()
        except OperationalError as error:
            return str(error)

    child = fork(ask, after_fork=lambda: None)
    child.wait()

    assert "The doors could not be read: " in child.result()


def test_a_forked_process_watches_for_itself(monkeypatch):
    monkeypatch.undo()

    def ask():
        doors.as_last_read()
        with_own = doors._own[""]
        grandchild = fork(lambda: doors._own == {}, after_fork=lambda: None)
        grandchild.wait()
        return grandchild.result(), with_own.is_alive()

    child = fork(ask, after_fork=lambda: None)
    os_status = child.wait()

    assert os.WIFEXITED(os_status)
    assert child.result() == (True, True)


# The command.


def test_the_command_says_how_they_stand_and_what_is_still_in_hand(abandoned):
    IdempotencyKey.objects.update(locked_at="2999-01-01T00:00Z")

    assert command() == command("status") == "open\nrequests_in_hand=1\n"
    assert command("close", "--reason", "restoring").startswith("closed since 20")
    assert "reason='restoring'\n" in command()
    assert command("open") == "open\nrequests_in_hand=1\n"


def test_closed_twice_they_are_closed_since_the_first_time():
    command("close", "--reason", "restoring")
    since = Doors.objects.get().closed_at

    command("close", "--reason", "restoring, the second part")

    assert Doors.objects.get().closed_at == since
    assert Doors.objects.get().reason == "restoring, the second part"
