"""A forked process uses no connection that its parent opened, and does not end it either."""

import os

import pytest
from django.db import connection, transaction

from idempotency.tests.sessions import backend_pid, state_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_session")]


def told_by_child(work):
    """What a forked process says of itself, which closes its connection in good order."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.write(writer, str(work()).encode())
            connection.close()
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return said


def test_a_child_opens_a_connection_of_its_own_and_leaves_the_parents_open():
    own = backend_pid()

    childs = int(told_by_child(backend_pid))

    assert childs != own
    assert backend_pid() == own


def test_a_child_that_was_forked_inside_a_transaction_is_in_none():
    with transaction.atomic():
        own = backend_pid()

        assert told_by_child(lambda: connection.in_atomic_block or backend_pid() == own) == "False"

        assert backend_pid() == own
    assert state_of(own) is not None


def test_a_child_that_uses_no_connection_closes_none():
    own = backend_pid()

    told_by_child(lambda: connection.close())

    assert backend_pid() == own
