"""What was answered survives kill -9: objects, charges and the answers saved under their keys."""

import os
import signal

from sandbox.stripe.process import running_stand_in
from sandbox.tests.conftest import client_of, pay, post_form

PATH = "/v1/payment_intents"
PAYMENT = {
    "amount": "2000",
    "currency": "usd",
    "payment_method": "pm_card_visa",
    "confirm": "true",
}


def kill(stand_in):
    os.kill(stand_in.pid, signal.SIGKILL)


def test_everything_that_was_answered_survives_kill_9(tmp_path):
    with running_stand_in(tmp_path) as stand_in:
        client = client_of(stand_in)
        rider = client.v1.customers.create({"source": "tok_visa"})
        intent = pay(client, key="paid-before-the-kill", customer=rider.id)
        client.v1.refunds.create(
            {"payment_intent": intent.id, "amount": 500}, {"idempotency_key": "refunded"}
        )
        charges = stand_in.charges()
        kill(stand_in)
    with running_stand_in(tmp_path) as stand_in:
        client = client_of(stand_in)
        assert stand_in.charges() == charges
        assert charges[0]["idempotency_key"] == "paid-before-the-kill"
        assert charges[0]["amount_refunded"] == 500
        assert client.v1.customers.retrieve(rider.id).default_source == rider.default_source
        assert pay(client, key="paid-before-the-kill", customer=rider.id).id == intent.id
        assert stand_in.calls()["replays"] == 1
        assert pay(client, customer=rider.id).status == "succeeded"


def test_a_saved_500_and_a_decline_survive(tmp_path):
    declined = PAYMENT | {"payment_method": "pm_card_chargeCustomerFail"}
    with running_stand_in(tmp_path) as stand_in:
        stand_in.add_fault("error_after", times=1)
        broken = post_form(stand_in, PATH, PAYMENT, "broken")
        refused = post_form(stand_in, PATH, declined, "refused")
        kill(stand_in)
    with running_stand_in(tmp_path) as stand_in:
        assert post_form(stand_in, PATH, PAYMENT, "broken").body == broken.body
        assert post_form(stand_in, PATH, declined, "refused").body == refused.body
        assert [charge["status"] for charge in stand_in.charges()] == ["succeeded", "failed"]


def test_a_line_torn_by_the_kill_was_never_answered_and_is_cut_off(tmp_path):
    with running_stand_in(tmp_path) as stand_in:
        first = post_form(stand_in, PATH, PAYMENT, "whole")
        kill(stand_in)
    journal = tmp_path / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole[: len(whole) // 2])
    with running_stand_in(tmp_path) as stand_in:
        assert post_form(stand_in, PATH, PAYMENT, "whole").body == first.body
        second = post_form(stand_in, PATH, PAYMENT, "after the torn line")
    with running_stand_in(tmp_path) as stand_in:
        assert post_form(stand_in, PATH, PAYMENT, "after the torn line").body == second.body
        assert len(stand_in.charges()) == 2


def test_pruned_and_forgotten_keys_stay_forgotten(tmp_path):
    with running_stand_in(tmp_path) as stand_in:
        post_form(stand_in, PATH, PAYMENT, "pruned")
        stand_in.prune_keys()
        stand_in.add_fault("key_pruned", idempotency_key="forgotten")
        post_form(stand_in, PATH, PAYMENT, "forgotten")
        post_form(stand_in, PATH, PAYMENT, "kept")
    with running_stand_in(tmp_path) as stand_in:
        assert not post_form(stand_in, PATH, PAYMENT, "pruned").is_replay
        assert not post_form(stand_in, PATH, PAYMENT, "forgotten").is_replay
        assert post_form(stand_in, PATH, PAYMENT, "kept").is_replay


def test_a_reset_empties_the_journal(tmp_path):
    with running_stand_in(tmp_path) as stand_in:
        post_form(stand_in, PATH, PAYMENT, "gone")
        stand_in.reset()
        kept = post_form(stand_in, PATH, PAYMENT, "kept")
        assert kept.status == 200
    with running_stand_in(tmp_path) as stand_in:
        assert [charge["idempotency_key"] for charge in stand_in.charges()] == ["kept"]


def test_no_api_key_is_written_to_the_journal(tmp_path):
    with running_stand_in(tmp_path) as stand_in:
        post_form(stand_in, PATH, PAYMENT, "key", "sk_test_very_private")
    journal = (tmp_path / "journal.jsonl").read_text()
    assert "pm_" in journal
    assert "very_private" not in journal
