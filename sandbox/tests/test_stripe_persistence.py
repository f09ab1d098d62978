"""What was answered survives kill -9: objects, charges and the answers saved under their keys."""

import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor, wait
from http.client import HTTPException

import psutil

from sandbox.stripe.idempotency import IdempotencyKeys, KeyedRequest, SavedAnswer
from sandbox.stripe.ledger import Ledger
from sandbox.stripe.process import running_stand_in
from sandbox.stripe.store import open_store
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


def test_a_kill_in_the_middle_of_calls_keeps_all_that_was_answered(tmp_path):
    answered = []
    with running_stand_in(tmp_path) as stand_in, ThreadPoolExecutor(8) as clients:
        paying = [
            clients.submit(post_form, stand_in, PATH, PAYMENT, f"key {n}") for n in range(400)
        ]
        wait(paying[:100])
        kill(stand_in)
        for n, call in enumerate(paying):
            with contextlib.suppress(OSError, HTTPException):
                answered.append((f"key {n}", call.result().body))
    with running_stand_in(tmp_path) as stand_in:
        assert 100 <= len(answered) < 400
        for key, body in answered:
            answer = post_form(stand_in, PATH, PAYMENT, key)
            assert (answer.body, answer.is_replay) == (body, True)
        assert {charge["status"] for charge in stand_in.charges()} == {"succeeded"}


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


def test_a_reset_is_remembered(tmp_path):
    with running_stand_in(tmp_path) as stand_in:
        post_form(stand_in, PATH, PAYMENT, "gone")
        stand_in.reset()
        kept = post_form(stand_in, PATH, PAYMENT, "kept")
        assert kept.status == 200
    with running_stand_in(tmp_path) as stand_in:
        assert [charge["idempotency_key"] for charge in stand_in.charges()] == ["kept"]


def test_no_api_key_is_written_to_the_file(tmp_path):
    with running_stand_in(tmp_path) as stand_in:
        post_form(stand_in, PATH, PAYMENT, "key", "sk_test_very_private")
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"pm_" in written
    assert b"very_private" not in written


# A stand-in that has run for days.


def test_what_is_old_is_forgotten_and_customers_stay(monkeypatch):
    store = open_store(None)
    ledger, keys = Ledger(store), IdempotencyKeys(store)
    monkeypatch.setattr("sandbox.stripe.ledger.LOOK_EVERY_COMMITS", 10)
    monkeypatch.setattr("sandbox.stripe.idempotency.LOOK_EVERY_ANSWERS", 10)
    now = int(time.time())
    four_days_ago = now - 4 * 24 * 3_600
    ledger.put({"id": "cus_1", "object": "customer", "created": four_days_ago})
    ledger.put(
        {"id": "pm_1", "object": "payment_method", "created": four_days_ago, "customer": "cus_1"}
    )

    for n in range(1_000):
        created = four_days_ago if n < 500 else now
        ledger.put({"id": f"ch_{n}", "object": "charge", "created": created})
        keys.save(answer_to(f"key {n}", created))
        ledger.commit(f"key {n}")

    assert [key for _, key in ledger.charges()] == [f"key {n}" for n in range(500, 1_000)]
    assert store.execute("SELECT count(*) FROM answer").fetchone() == (500,)
    assert ledger.get("customer", "cus_1")
    assert ledger.get("payment_method", "pm_1")


def test_a_key_is_known_for_a_day_and_no_longer():
    keys = IdempotencyKeys(open_store(None))
    a_day_ago = time.time() - 24 * 3_600
    keys.save(answer_to("known", a_day_ago + 60))
    keys.save(answer_to("forgotten", a_day_ago - 60))

    assert keys.claim(keyed("known")).key == "known"
    assert keys.claim(keyed("forgotten")) is None


def test_a_file_of_many_days_is_opened_at_once(tmp_path):
    store = open_store(tmp_path)
    ledger, keys = Ledger(store), IdempotencyKeys(store)
    for n in range(100_000):
        ledger.put({"id": f"ch_{n}", "object": "charge", "created": 0, "filler": "x" * 1_000})
        keys.save(answer_to(f"key {n}", 0))
    ledger.commit("key")
    store.close()

    began_at = time.monotonic()
    with running_stand_in(tmp_path) as stand_in:
        assert time.monotonic() - began_at < 5
        assert post_form(stand_in, PATH, PAYMENT, "another").status == 200
        assert memory_of(stand_in) < 200_000_000


def answer_to(key, created):
    return SavedAnswer(
        account="acct",
        key=key,
        path=PATH,
        fingerprint="same",
        status=200,
        body="{}",
        request_id="req_1",
        created=created,
    )


def keyed(key):
    return KeyedRequest(account="acct", key=key, path=PATH, fingerprint="same")


def memory_of(stand_in):
    return psutil.Process(stand_in.pid).memory_info().rss
