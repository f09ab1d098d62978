"""Stripe answers in hostile words: a NUL, half of a pair, a terminal's commands, a megabyte.
What they mean is done all the same, and they are kept bounded and written out.
"""

import io
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from idempotency.models import IdempotencyKey
from idempotency.support.storable import ENTRY_LIMIT
from idempotency.testing.clock import let_time_pass
from idempotency.workers.completing import complete_due_keys
from rides.reconciliation.comparing import Reconciled
from rides.reconciliation.rules import Discrepancy, Kind
from rides.tests.booking import CHARGING, KEY, ask, the_key

pytestmark = pytest.mark.django_db(transaction=True)

UNSEEN = "\x00\x1b\u202e\ud800"


def assert_written_out(text: str) -> None:
    assert not [character for character in UNSEEN if character in text]
    assert "[cut: " in text


def test_a_decline_in_hostile_words_is_a_final_answer(rider, stand_in):
    stand_in.add_fault("hostile_decline", times=1)

    first, replay = ask(rider=rider.email), ask(rider=rider.email)

    assert (first.status_code, replay.status_code) == (402, 402)
    assert first.content == replay.content
    assert len(first.content) < 3_000
    assert_written_out(json.loads(first.content)["error"])


def test_a_refusal_in_hostile_words_reaches_the_review_list(rider, stand_in):
    stand_in.add_fault("hostile_refusal", path=CHARGING)

    assert ask(rider=rider.email).status_code == 503

    assert the_key().is_under_review
    entry = the_key().journal[-1]
    assert len(json.dumps(entry)) < ENTRY_LIMIT
    assert_written_out(entry["evidence"]["message"])
    printed = io.StringIO()
    call_command("review", "show", str(the_key().pk), stdout=printed)
    assert not [character for character in UNSEEN if character in printed.getvalue()]


def test_the_completer_goes_on_with_the_next_one(rider, stand_in):
    stand_in.add_fault("rate_limit", path=CHARGING)
    for number in range(3):
        ask(f"{KEY}-{number}", rider=rider.email)
    stand_in.clear_faults()
    let_time_pass(timedelta(hours=2))
    stand_in.add_fault("hostile_refusal", path=CHARGING, times=1)

    done = complete_due_keys(10)

    assert (done.counts["succeeded"], done.counts["failed"]) == (2, 1)
    assert IdempotencyKey.objects.filter(needs_review_at__isnull=False).count() == 1


@pytest.mark.parametrize("option", ["--from=2026-01-01", "--json"])
def test_reconcile_prints_nothing_that_steers_a_terminal(monkeypatch, option):
    detail = "\x1b[2J\x9b1A \u202egnp.exe\ncharges=0 rides=0 discrepancies=0"
    off = Discrepancy(kind=Kind.CHARGE_WITHOUT_RIDE, ride_id=None, charge_id="ch_1", detail=detail)
    report = Reconciled(discrepancies=[off], charges=1, rides=0, open_requests=0)
    monkeypatch.setattr("rides.management.commands.reconcile.look", lambda *_, **__: report)
    printed = io.StringIO()

    with pytest.raises(CommandError):
        call_command("reconcile", option, stdout=printed)

    assert len(printed.getvalue().splitlines()) == (1 if option == "--json" else 3)
    assert not [character for character in "\x1b\x9b\u202e" if character in printed.getvalue()]
