"""Bugs that no crash shows: each is planted, and the test that stands against it must fail."""

from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection

from idempotency.tests import (
    seams,
    test_lost_connections,
    test_old_snapshots,
    test_order_of_reading,
    test_storable,
)
from idempotency.tests.test_old_snapshots import keys, old_snapshot  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def caught_by(request, record_property):
    """The block runs the test that catches the bug."""

    @contextmanager
    def caught_by(test):
        name = request.function.__name__.removeprefix("test_")
        record_property("planted bug", f"{name:<42} {test.__name__}")
        with pytest.raises(AssertionError):
            yield

    return caught_by


@pytest.mark.usefixtures("own_session", "ledger")
def test_a_connection_that_only_reads_is_kept(customer, key, monkeypatch, caught_by):
    for seam in (
        seams.DROP_CONNECTION,
        seams.DROP_CONNECTION_OF_A_REQUEST,
        seams.DROP_CONNECTION_OF_A_FAILURE,
    ):
        monkeypatch.setattr(*seam, lambda error: None)
    test = test_lost_connections.test_a_connection_that_may_only_read_is_given_up

    with caught_by(test):
        test(customer, key)
    connection.close()


def test_the_credential_is_looked_up_before_the_body_is_there(
    settings, customer, key, ledger, monkeypatch, caught_by
):
    monkeypatch.setattr(*seams.READ_BODY, lambda request: b"")
    test = test_order_of_reading.test_the_body_is_there_before_anybody_asks_who_sends_it

    with caught_by(test):
        test(settings, customer, key, ledger)


def test_the_databases_words_are_kept_as_they_came(monkeypatch, caught_by):
    monkeypatch.setattr(*seams.DESCRIBE_DATABASE_ERROR, str)
    test = test_storable.test_of_an_error_of_the_database_no_value_and_no_statement_is_kept

    with caught_by(test):
        test()


def test_each_look_begins_at_the_beginning(old_snapshot, keys, monkeypatch, caught_by):  # noqa: F811
    monkeypatch.setattr(*seams.LOOK_AT_ALL_EVERY_SECONDS, 0.0)
    monkeypatch.setattr(*seams.LOOK_AT_ALL_SHARE, float("inf"))
    test = test_old_snapshots.test_the_idle_completer_passes_over_requests_that_were_finished

    with caught_by(test):
        test(old_snapshot, keys)


# Where bugs are planted.


def test_each_seam_of_the_library_is_in_the_code_and_has_a_bug():
    places = seams.seams_of(seams)

    assert [name for name, seam in places.items() if not hasattr(*seam)] == []
    assert seams.used_in(Path(__file__).parent.glob("*.py")) == places.keys()
