"""A command whose reader leaves, as `head` does, ends without a traceback; and what a foreign
system said steers no terminal.
"""

import io

import pytest
from django.core.management import call_command

from idempotency.models import IdempotencyKey
from idempotency.tests.ledger import Fault
from idempotency.tests.processes import TIMEOUT_SECONDS, started_command

pytestmark = pytest.mark.django_db(transaction=True)

BY_SIGPIPE = 141
HOSTILE = "\x1b[2J\x9b1A \u202egnp.exe\nneeds_review=0"


@pytest.fixture
def under_review(customer, key, ledger) -> IdempotencyKey:
    ledger.faults = [Fault.ERROR_BEFORE]
    customer.send(key)
    IdempotencyKey.objects.update(needs_review_at="2026-01-01T00:00Z", last_error=HOSTILE)
    return IdempotencyKey.objects.get()


def test_a_list_whose_reader_has_left_ends_quietly(under_review):
    with started_command("review") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        complaints = process.stderr.read()
        process.wait(TIMEOUT_SECONDS)

    assert (complaints, process.returncode) == ("", BY_SIGPIPE)


def test_what_was_said_outside_begins_no_line_and_steers_no_terminal(under_review):
    listed, shown = io.StringIO(), io.StringIO()

    call_command("review", stdout=listed)
    call_command("review", "show", str(under_review.pk), stdout=shown)

    written_out = r"\x1b[2J\x9b1A \u202egnp.exe\nneeds_review=0"
    assert listed.getvalue().splitlines()[0].endswith(written_out)
    assert listed.getvalue().splitlines()[1:] == ["needs_review=1"]
    assert written_out in shown.getvalue()
    for character in "\x1b\x9b\u202e":
        assert character not in listed.getvalue() + shown.getvalue()
