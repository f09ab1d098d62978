"""What each answer of Stripe means for the money, over real sockets to the stand-in."""

import json
import socket
import threading
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import pytest
import stripe

from idempotency import Pending, conf
from idempotency.exceptions import ForeignRefusal, Indeterminate, NeedsReview, ReviewRefused
from idempotency.foreign_keys import installation_mark
from rides import payments
from rides.models import Ride, User
from rides.payments import charging, client
from rides.tests.answering import intent
from rides.tests.factories import RideFactory

CHARGING = "POST /v1/payment_intents"
LISTING = "GET /v1/payment_intents"
DECLINED = r"^Your card was declined\.$"


@pytest.fixture
def ride(rider: User) -> Ride:
    return RideFactory(user=rider)


@pytest.fixture
def impatience(monkeypatch):
    """Let the client give up after a fraction of a second instead of 16."""
    client.connected_client.cache_clear()
    monkeypatch.setattr(client, "CALL_TIMEOUT_SECONDS", 0.3)
    yield
    client.connected_client.cache_clear()


def use_key(ride: Ride, **changes: object) -> None:
    """Have the key of the ride's charge used at Stripe, for a payment that nobody has confirmed."""
    wanted = {"amount": 2000, "currency": "usd", **changes}
    client.client().v1.payment_intents.create(wanted, {"idempotency_key": str(ride.foreign_key)})


def charge(ride: Ride) -> payments.Charge:
    return payments.charge(ride)


# A charge.


def test_a_charge_takes_the_fare_once(ride, stand_in):
    taken = charge(ride)

    [charged] = stand_in.charges()
    assert charged["status"] == "succeeded"
    assert (charged["amount"], charged["currency"]) == (2000, "usd")
    assert taken == payments.Charge(
        id=charged["id"],
        payment_intent_id=charged["payment_intent"],
        amount_cents=2000,
        currency="usd",
    )


def test_a_charge_is_sent_with_its_key_and_the_installations_mark_and_nothing_else_of_ours(
    ride, stand_in
):
    charge(ride)

    [charged] = stand_in.charges()
    assert charged["customer"] == ride.user.stripe_customer_id
    assert charged["idempotency_key"] == str(ride.foreign_key)
    assert charged["metadata"] == {
        "installation": installation_mark(),
        "foreign_key": str(ride.foreign_key),
    }
    assert charged["description"] == f"{installation_mark()} {ride.foreign_key}"


def test_the_customer_that_was_asked_is_asked_again_whoever_the_rider_is_by_now(
    ride, rider, stand_in
):
    asked = rider.stripe_customer_id
    taken = charge(ride)
    rider.stripe_customer_id = payments.create_customer(email="new@x.org", source="tok_visa")
    rider.save()
    ride = Ride.objects.get()

    assert charge(ride) == taken
    assert payments.find_charge(ride) == taken
    assert [each["customer"] for each in stand_in.charges()] == [asked]


def test_a_ride_of_a_release_that_kept_neither_key_nor_customer_is_found_by_its_requests(ride):
    Ride.objects.update(foreign_key=None, stripe_customer_id=None)
    ride = Ride.objects.get()
    taken = charge(ride)

    assert payments.find_charge(ride) == taken
    assert charge(ride) == taken


def test_the_same_charge_again_is_the_same_charge(ride, stand_in):
    assert charge(ride) == charge(ride)
    assert len(stand_in.charges()) == 1


def test_a_connection_is_kept_open_from_one_charge_to_the_next(rider, stand_in):
    accepted = 0
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = stand_in.base_url.removeprefix("http://").split(":")

    def forward(source: socket.socket, target: socket.socket) -> None:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        nonlocal accepted
        while True:
            caller, _ = listener.accept()
            accepted += 1
            server = socket.create_connection((host, int(port)))
            threading.Thread(target=forward, args=(caller, server), daemon=True).start()
            threading.Thread(target=forward, args=(server, caller), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    connected = client.connected_client(
        "sk_test_sandbox", f"http://127.0.0.1:{listener.getsockname()[1]}"
    )
    for _ in range(3):
        connected.v1.customers.retrieve(rider.stripe_customer_id)

    assert accepted == 1


# A definite no.


def test_a_declined_card_is_definite(rider_with_bad_card, stand_in):
    ride = RideFactory(user=rider_with_bad_card)

    with pytest.raises(payments.CardDeclined, match=DECLINED):
        charge(ride)

    assert stand_in.charges(status="succeeded") == []


def test_a_decline_names_the_payment_that_it_leaves_open(rider_with_bad_card, stand_in):
    with pytest.raises(payments.CardDeclined) as declined:
        charge(RideFactory(user=rider_with_bad_card))

    assert declined.value.payment_id == stand_in.charges()[0]["payment_intent"]


@pytest.mark.parametrize("message", [None, "", 5, ["no"], {}])
def test_a_decline_without_words_is_told_in_ours(ride, answering, message):
    answering(402, json.dumps({"error": {"type": "card_error", "message": message}}).encode())

    with pytest.raises(payments.CardDeclined, match=r"^The payment did not go through\.$"):
        charge(ride)


@pytest.mark.parametrize("failure", [None, {}, {"message": None}])
def test_a_payment_without_a_method_and_without_an_error_did_not_go_through(
    ride, answering, failure
):
    unpaid = {"status": "requires_payment_method", "amount_received": 0, "latest_charge": None}
    answering(200, intent(ride, **unpaid, last_payment_error=failure))

    with pytest.raises(payments.CardDeclined, match=r"^The payment did not go through\.$"):
        charge(ride)


# Not known: the same key may be sent again.


@pytest.mark.parametrize("fault", ["conflict", "rate_limit", "reset_before", "error_before"])
def test_a_failure_before_the_charge_leaves_it_unknown(ride, stand_in, fault):
    stand_in.add_fault(fault, path=CHARGING)

    with pytest.raises(Indeterminate):
        charge(ride)

    assert stand_in.charges() == []


@pytest.mark.parametrize(
    ("fault", "times"), [("reset_after", 2), ("malformed_json", 1), ("error_after", 1)]
)
def test_a_failure_after_the_charge_leaves_it_unknown_and_a_resend_finds_it(
    ride, stand_in, fault, times
):
    stand_in.add_fault(fault, path=CHARGING, times=times)

    with pytest.raises(Indeterminate):
        charge(ride)

    assert charge(ride).id == stand_in.charges(status="succeeded")[0]["id"]
    assert len(stand_in.charges()) == 1


def test_one_lost_answer_is_asked_for_again_with_the_same_key(ride, stand_in):
    stand_in.add_fault("reset_after", path=CHARGING, times=1)

    assert charge(ride).id == stand_in.charges()[0]["id"]
    assert len(stand_in.charges()) == 1


def test_a_timeout_leaves_the_charge_unknown(ride, stand_in, impatience):
    stand_in.add_fault("stall", path=CHARGING, seconds=2)

    with pytest.raises(Indeterminate, match="connection failed"):
        charge(ride)

    assert len(stand_in.charges(status="succeeded")) == 1


def test_nobody_listening_leaves_the_charge_unknown(ride, settings):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings.STRIPE_API_BASE = f"http://127.0.0.1:{listener.getsockname()[1]}"

    with pytest.raises(Indeterminate, match="connection failed"):
        charge(ride)


def test_a_rate_limit_leaves_a_charge_open_and_says_when_to_come_back(ride, stand_in):
    stand_in.add_fault("rate_limit", path=CHARGING, seconds=7)

    with pytest.raises(Indeterminate, match="HTTP 429") as unknown:
        charge(ride)

    assert unknown.value.retry_after_seconds == 7


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("0", 1), ("-5", None), ("soon", None), ("9" * 30, 3600), ("9" * 5000, 3600), ("٣", None)],
)
def test_when_to_come_back_is_said_within_bounds(ride, answering, said, seconds):
    answering(429, refusal("Too many."), Retry_After=said.encode().decode("iso-8859-1"))

    with pytest.raises(Indeterminate, match="HTTP 429") as unknown:
        charge(ride)

    assert unknown.value.retry_after_seconds == seconds


def test_a_wrong_api_key_of_ours_leaves_the_charge_to_be_sent_again(ride, settings, stand_in):
    settings.STRIPE_API_KEY = ""

    with pytest.raises(Indeterminate, match="HTTP 401"):
        charge(ride)

    assert stand_in.charges() == []


@pytest.mark.parametrize("api_key", ["sk_test_sandbox\n", "sk_test_sandboxé", "sk\r\n\r\nGET /"])
def test_an_api_key_that_no_head_can_carry_sends_nothing_and_can_be_mended(
    ride, settings, stand_in, api_key
):
    settings.STRIPE_API_KEY = api_key
    with pytest.raises(Indeterminate, match="'Authorization' has a character"):
        charge(ride)
    assert CHARGING not in stand_in.calls()["calls"]

    settings.STRIPE_API_KEY = "sk_test_sandbox"
    assert charge(ride).id == stand_in.charges()[0]["id"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"{}"),
        (200, b"[]"),
        (200, b'{"id": "pi_1", "object": "payment_intent", "status": "processing"}'),
        (200, b"<html>"),
        (402, b"<html>Pay for your proxy</html>"),
        (402, b'{"error": {"type": "api_error", "message": "Pay for your proxy"}}'),
        (404, b"<html>Not Found</html>"),
        (400, b'{"error": {"type": "proxy_error", "message": "Bad Request"}}'),
        (400, b'{"error": "invalid_request"}'),
        (503, b""),
    ],
)
def test_an_answer_that_decides_nothing_leaves_the_charge_unknown(ride, answering, status, body):
    answering(status, body)

    with pytest.raises(Indeterminate):
        charge(ride)


# A refusal of us, and not of the request, is ours to mend: the same request can succeed then.


def refusal(message: str, **fields: str) -> bytes:
    error = {"type": "invalid_request_error", "message": message, **fields}
    return json.dumps({"error": error}).encode()


REFUSALS_OF_US = {
    "no key": (401, refusal("You did not provide an API key.")),
    "key that has ended": (401, refusal("Expired API Key.", code="api_key_expired")),
    "key without the right": (403, refusal("Not yours.")),
    "address that is not there": (404, refusal("Unrecognized request URL (POST: /v2/x).")),
    "key of another mode": (
        400,
        refusal(
            "No such customer: 'cus_1'; a similar object exists in live mode, but a test mode key "
            "was used to make this request.",
            code="resource_missing",
            param="customer",
        ),
    ),
    "object of another mode": (400, refusal("Not in this mode.", code="livemode_mismatch")),
    "version that is not there": (400, refusal("Invalid Stripe API version: 2011-2-9.")),
    "version, without a type": (400, b'{"error": {"message": "Invalid Stripe API version: 1."}}'),
}


@pytest.mark.parametrize(("status", "body"), REFUSALS_OF_US.values(), ids=REFUSALS_OF_US)
def test_a_refusal_of_us_leaves_the_charge_to_be_sent_again(ride, answering, status, body):
    answering(status, body)

    with pytest.raises(Indeterminate, match=f"HTTP {status}"):
        charge(ride)


def test_what_another_mode_has_is_not_said_to_be_missing(ride, answering):
    message = "No such charge: 'ch_1'; a similar object exists in live mode, but a test mode key"
    answering(404, refusal(message, code="resource_missing"))

    with pytest.raises(Indeterminate):
        payments.find_ledger_charge("ch_1")
    with pytest.raises(payments.CustomerUnavailable):
        payments.customer_exists("cus_1")


def test_what_is_asked_for_at_a_wrong_address_is_not_said_to_be_missing(ride, answering):
    answering(404, refusal("Unrecognized request URL (GET: /v2/x)."))

    with pytest.raises(Indeterminate):
        payments.find_ledger_charge("ch_1")
    with pytest.raises(payments.CustomerUnavailable):
        payments.customer_exists("cus_1")


# Stripe repeats an error that it saved, so it is asked what it did.


def test_a_saved_error_behind_which_a_charge_stands_is_that_charge(ride, stand_in):
    stand_in.add_fault("error_after", path=CHARGING, times=1)
    with pytest.raises(Indeterminate, match="HTTP 500"):
        charge(ride)

    assert charge(ride).id == stand_in.charges()[0]["id"]
    assert len(stand_in.charges()) == 1


def test_a_saved_error_behind_which_nothing_stands_stays_unknown(ride, stand_in):
    stand_in.add_fault("error_before", path=CHARGING, times=1)
    for _ in range(2):
        with pytest.raises(Indeterminate, match="HTTP 500"):
            charge(ride)

    assert stand_in.calls()["calls"][LISTING] == 1
    assert stand_in.charges() == []


# A person must look.


def test_a_customer_that_stripe_does_not_know_needs_a_person(stand_in, db):
    ride = RideFactory(user__stripe_customer_id="cus_unknown")

    with pytest.raises(ForeignRefusal) as refusal:
        charge(ride)

    evidence = refusal.value.evidence
    assert evidence["code"] == "resource_missing"
    assert "cus_unknown" in evidence["message"]
    assert evidence["request_id"].startswith("req_")


def test_a_key_that_was_used_for_something_else_needs_a_person(ride, stand_in):
    use_key(ride, metadata={})

    with pytest.raises(NeedsReview) as refusal:
        charge(ride)

    assert refusal.value.evidence["http_status"] == 400
    assert refusal.value.evidence["code"] == "idempotency_error"
    assert stand_in.charges() == []


def test_a_payment_that_was_made_with_another_fare_needs_a_person(ride, stand_in):
    charge(ride)
    ride.amount_cents = 3000

    with pytest.raises(NeedsReview, match="not what was asked for") as refusal:
        charge(ride)

    assert refusal.value.evidence["amount_received"] == 2000
    assert len(stand_in.charges()) == 1


# Stripe refuses the key, because what is sent with it has changed, so it is asked what it did.


def test_after_a_deploy_that_words_the_question_otherwise_the_charge_is_found(
    ride, stand_in, monkeypatch
):
    taken = charge(ride)
    wanted = charging.wanted
    monkeypatch.setattr(charging, "wanted", lambda ride: wanted(ride) | {"description": "A ride"})

    assert charge(ride) == taken
    assert len(stand_in.charges()) == 1


def test_a_card_that_was_declined_before_such_a_deploy_is_declined(
    rider_with_bad_card, monkeypatch
):
    ride = RideFactory(user=rider_with_bad_card)
    with pytest.raises(payments.CardDeclined):
        charge(ride)
    wanted = charging.wanted
    monkeypatch.setattr(charging, "wanted", lambda ride: wanted(ride) | {"description": "A ride"})

    with pytest.raises(payments.CardDeclined, match=DECLINED):
        charge(ride)


# An answer that is given for the second time is as old as the first.


def test_a_payment_that_was_refunded_since_its_first_answer_needs_a_person(ride, stand_in):
    taken = charge(ride)
    client.client().v1.refunds.create({"charge": taken.id})

    with pytest.raises(NeedsReview, match="refunded") as refusal:
        charge(ride)

    assert refusal.value.evidence == {"payment_intents": [taken.payment_intent_id]}
    assert len(stand_in.charges()) == 1


def test_a_first_answer_is_believed_without_another_call(ride, stand_in):
    charge(ride)

    assert stand_in.calls()["calls"].get("GET /v1/payment_intents/{id}", 0) == 0


def test_a_decline_that_is_told_again_is_read_at_stripe(rider_with_bad_card, stand_in):
    ride = RideFactory(user=rider_with_bad_card)
    for _ in range(2):
        with pytest.raises(payments.CardDeclined, match=DECLINED):
            charge(ride)

    assert stand_in.calls()["calls"]["GET /v1/payment_intents/{id}"] == 1
    assert len(stand_in.charges()) == 1


def test_a_payment_in_a_state_that_nobody_has_heard_of_needs_a_person(ride, answering):
    answering(200, intent(ride, status="a_new_status"))

    with pytest.raises(NeedsReview) as refusal:
        charge(ride)

    assert refusal.value.evidence["status"] == "a_new_status"


def test_a_payment_of_which_less_has_come_needs_a_person(ride, answering):
    answering(200, intent(ride, amount_received=1999))

    with pytest.raises(NeedsReview) as refusal:
        charge(ride)

    assert refusal.value.evidence["amount_received"] == 1999


# Whose payment it is.


@pytest.mark.parametrize(
    "other",
    [
        {"amount": 1999},
        {"currency": "eur"},
        {"customer": "cus_of_another_rider"},
        {"customer": None},
        {"metadata": {"foreign_key": str(uuid4())}},
        {"metadata": {}},
        {"metadata": "ours"},
    ],
)
def test_an_answer_that_does_not_bear_what_was_sent_is_not_believed(ride, answering, other):
    answering(200, intent(ride, **other))

    with pytest.raises(Indeterminate, match="not one to this request"):
        charge(ride)


def test_after_such_an_answer_the_next_call_has_a_connection_of_its_own(ride, answering, stand_in):
    answering(200, intent())
    with pytest.raises(Indeterminate):
        charge(ride)

    transport = client._transport(client.CONNECT_TIMEOUT_SECONDS, client.CALL_TIMEOUT_SECONDS)
    assert not hasattr(transport._handles, "curl")


# Looking up, and sending nothing.


def test_a_look_up_finds_the_charge_and_charges_nothing(ride, stand_in):
    taken = charge(ride)

    assert payments.find_charge(ride) == taken
    assert stand_in.calls()["calls"][CHARGING] == 1


def test_a_look_up_finds_nothing_where_nothing_was_charged(ride, rider):
    charge(RideFactory(user=rider))

    assert payments.find_charge(ride) is None


def test_a_look_up_finds_a_payment_that_is_older_than_its_ride(ride):
    taken = charge(ride)
    later = conf.current().retention - timedelta(minutes=1)
    Ride.objects.update(created_at=ride.created_at + later)

    assert payments.find_charge(Ride.objects.get()) == taken


def test_a_look_up_passes_over_the_same_key_of_a_month_ago(ride):
    charge(ride)
    later = conf.current().tombstone_retention
    Ride.objects.update(created_at=ride.created_at + later)

    assert payments.find_charge(Ride.objects.get()) is None


@pytest.mark.parametrize("hours", [-4, -0.2, 0.2, 4])
def test_a_look_up_finds_a_payment_whatever_stripes_clock_says(ride, stand_in, hours):
    stand_in.set_clock(hours * 3600)
    taken = charge(ride)

    assert payments.find_charge(ride) == taken


def test_a_look_up_does_not_take_a_restored_serial_id_for_the_ride(ride, rider):
    charge(ride)
    number = ride.pk
    ride.delete()

    assert payments.find_charge(RideFactory(pk=number, user=rider)) is None


def test_a_look_up_goes_through_every_page(ride, rider, stand_in):
    taken = charge(ride)
    connected = client.client()
    for _ in range(charging.PAGE):
        connected.v1.payment_intents.create(
            {"amount": 2000, "currency": "usd", "customer": rider.stripe_customer_id}
        )

    assert payments.find_charge(ride) == taken
    assert stand_in.calls()["calls"][LISTING] == 2


def test_a_look_up_that_takes_too_long_is_left_for_later(ride, rider, stand_in, monkeypatch):
    charge(ride)
    charge(RideFactory(user=rider))
    monkeypatch.setattr(charging, "PAGE", 1)
    monkeypatch.setattr(charging, "LOOKUP_SECONDS", 0)

    with pytest.raises(Indeterminate, match="too many"):
        payments.find_charge(ride)


@pytest.fixture
def crowded(ride, rider, stand_in, monkeypatch):
    """A ride of two days ago, whose rider has made more payments since than can be looked through
    in the time that there is.
    """
    monkeypatch.setattr(charging, "PAGE", 2)
    monkeypatch.setattr(charging, "LOOKUP_SECONDS", 1)
    two_days_ago = ride.created_at - timedelta(days=2)
    Ride.objects.update(created_at=two_days_ago)
    ride.idempotency_key.foreign_sent_at = two_days_ago
    ride.idempotency_key.save()

    def pay_and_go_on(*, declined: bool = False) -> Ride:
        stand_in.set_clock(-2 * 24 * 3600)
        if declined:
            stand_in.add_fault("decline", times=1)
        with suppress(payments.CardDeclined):
            charge(ride)
        stand_in.set_clock(0)
        for _ in range(20):
            client.client().v1.payment_intents.create(
                {"amount": 2000, "currency": "usd", "customer": rider.stripe_customer_id}
            )
        stand_in.add_fault("latency", path=LISTING, seconds=0.2)
        return Ride.objects.get()

    return pay_and_go_on


def test_a_payment_is_found_however_many_its_rider_has_made_since(crowded, stand_in):
    found = payments.find_charge(crowded())

    assert found.id == stand_in.charges()[0]["id"]


def test_a_charge_can_be_adopted_however_many_its_rider_has_made_since(crowded, stand_in):
    ride = crowded()
    [charge] = stand_in.charges()

    assert payments.read_charge(ride, charge["id"]).id == charge["id"]


def test_of_two_charges_none_is_adopted_however_many_their_rider_has_made_since(crowded, stand_in):
    ride = crowded()
    stand_in.clear_faults()
    stand_in.prune_keys()
    stand_in.set_clock(-2 * 24 * 3600)
    charge(ride)
    stand_in.set_clock(0)
    stand_in.add_fault("latency", path=LISTING, seconds=0.2)

    with pytest.raises(ReviewRefused, match="too, or may yet"):
        payments.read_charge(ride, stand_in.charges()[0]["id"])


def test_what_is_no_payment_is_not_believed_before_all_was_looked_through(crowded, monkeypatch):
    ride = crowded(declined=True)
    with pytest.raises(Indeterminate, match="too many"):
        payments.find_charge(ride)

    monkeypatch.setattr(charging, "LOOKUP_SECONDS", 10)
    with pytest.raises(payments.CardDeclined):
        payments.find_charge(ride)


def test_of_many_payments_each_is_read_once(crowded, monkeypatch):
    monkeypatch.setattr(charging, "LOOKUP_SECONDS", 10)

    assert len(list(charging.payments_of(crowded()))) == 1


def test_a_look_up_of_a_declined_card_is_definite(rider_with_bad_card):
    ride = RideFactory(user=rider_with_bad_card)
    with pytest.raises(payments.CardDeclined):
        charge(ride)

    with pytest.raises(payments.CardDeclined, match=DECLINED):
        payments.find_charge(ride)


def test_a_look_up_of_a_canceled_payment_is_definite(ride, rider):
    made = client.client().v1.payment_intents.create(
        {
            "amount": 2000,
            "currency": "usd",
            "customer": rider.stripe_customer_id,
            "metadata": {"foreign_key": str(ride.foreign_key)},
        }
    )
    made.cancel()

    with pytest.raises(payments.CardDeclined, match="canceled"):
        payments.find_charge(ride)


def test_a_look_up_that_finds_two_payments_needs_a_person(ride, stand_in):
    stand_in.add_fault("key_pruned", path=CHARGING, times=1)
    charge(ride)
    charge(ride)

    with pytest.raises(NeedsReview) as refusal:
        payments.find_charge(ride)

    paid = {charged["payment_intent"] for charged in stand_in.charges()}
    assert len(paid) == 2
    assert set(refusal.value.evidence["payment_intents"]) == paid


def test_a_look_up_prefers_the_payment_to_the_attempt_that_failed(ride, stand_in):
    stand_in.add_fault("decline", times=1)
    stand_in.add_fault("key_pruned", path=CHARGING, times=1)
    with pytest.raises(payments.CardDeclined):
        charge(ride)
    taken = charge(ride)

    assert payments.find_charge(ride) == taken


def test_a_look_up_finds_what_is_under_way_whatever_failed_after_it(ride, answering):
    payments_made = [
        json.loads(intent(ride, id=f"pi_{status}", status=status))
        for status in ("requires_payment_method", "processing")
    ]
    listing = {"object": "list", "data": payments_made, "has_more": False}
    answering(200, json.dumps(listing).encode())

    found = payments.find_charge(ride)

    assert isinstance(found, Pending)
    assert found.reference == "pi_processing"


@pytest.mark.parametrize("fault", ["conflict", "rate_limit", "reset_before", "malformed_json"])
def test_a_look_up_that_gets_no_answer_leaves_the_charge_unknown(ride, stand_in, fault):
    charge(ride)
    stand_in.add_fault(fault, path=LISTING)

    with pytest.raises(Indeterminate):
        payments.find_charge(ride)


# How long it can take.


def test_the_worst_case_of_a_charge_is_shorter_than_a_lease():
    assert conf.current().lock_timeout > payments.WORST_CASE


def test_the_worst_case_counts_what_stripes_client_does():
    sender = stripe.RequestsClient()

    assert sender._sleep_time_seconds(client.RETRIES) == client.RETRY_PAUSE_SECONDS
