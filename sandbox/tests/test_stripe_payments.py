"""Payment intents, the charges that they make, and refunds, through the unmodified client."""

import pytest
import stripe

from sandbox.tests.conftest import pay


@pytest.fixture
def rider(client):
    return client.v1.customers.create({"source": "tok_visa"})


def test_a_confirmed_payment_is_one_charge_in_the_ledger(client, stand_in, rider):
    intent = pay(
        client,
        key="pays-for-ride-1",
        customer=rider.id,
        description="Charge for ride 1",
        metadata={"ride_id": "1"},
    )
    assert intent.id.startswith("pi_")
    assert (intent.status, intent.amount_received) == ("succeeded", 2000)
    assert intent.payment_method == rider.default_source
    [charge] = stand_in.charges()
    assert charge["id"] == intent.latest_charge
    assert charge["id"].startswith("ch_")
    assert charge["payment_intent"] == intent.id
    assert charge["status"] == "succeeded"
    assert (charge["amount"], charge["currency"]) == (2000, "usd")
    assert charge["customer"] == rider.id
    assert charge["metadata"] == {"ride_id": "1"}
    assert charge["idempotency_key"] == "pays-for-ride-1"


def test_the_charge_is_expanded_on_demand(client, rider):
    created = pay(client, customer=rider.id, expand=["latest_charge"])
    retrieved = client.v1.payment_intents.retrieve(
        created.id, {"expand": ["latest_charge", "customer.default_source"]}
    )
    listed = client.v1.payment_intents.list({"expand": ["data.latest_charge"]})
    assert created.latest_charge.paid
    assert retrieved.latest_charge.id == created.latest_charge.id
    assert retrieved.customer.default_source.id == rider.default_source
    assert listed.data[0].latest_charge.status == "succeeded"
    assert (
        client.v1.payment_intents.retrieve(created.id).latest_charge == retrieved.latest_charge.id
    )


@pytest.mark.parametrize("card", ["source", "payment_method"])
def test_a_declined_card_is_a_402_with_a_failed_charge(client, stand_in, card):
    if card == "source":
        rider = client.v1.customers.create({"source": "tok_chargeCustomerFail"})
        params = {"customer": rider.id}
    else:
        params = {"payment_method": "pm_card_chargeCustomerFail"}
    with pytest.raises(stripe.CardError) as declined:
        pay(client, **params)
    error = declined.value.error
    assert declined.value.http_status == 402
    assert str(declined.value.user_message) == "Your card was declined."
    assert (error.code, error.decline_code) == ("card_declined", "generic_decline")
    assert error.payment_intent.status == "requires_payment_method"
    assert error.payment_intent.last_payment_error.code == "card_declined"
    assert error.payment_intent.latest_charge == error.charge
    [charge] = stand_in.charges()
    assert (charge["id"], charge["status"]) == (error.charge, "failed")
    assert client.v1.charges.retrieve(error.charge).failure_code == "card_declined"
    assert stand_in.charges(status="succeeded") == []


def test_a_card_that_needs_its_holder_fails_off_session(client, stand_in):
    with pytest.raises(stripe.CardError) as refused:
        pay(client, payment_method="pm_card_authenticationRequired")
    assert (refused.value.http_status, refused.value.code) == (402, "authentication_required")
    intent = client.v1.payment_intents.retrieve(refused.value.error.payment_intent.id)
    assert intent.status == "requires_payment_method"
    assert stand_in.charges(status="succeeded") == []


def test_a_card_that_needs_its_holder_asks_for_action_on_session(client):
    intent = pay(client, payment_method="pm_card_authenticationRequired", off_session=False)
    assert intent.status == "requires_action"
    assert intent.next_action.type == "use_stripe_sdk"


def test_the_default_of_invoice_settings_does_not_pay_for_an_intent(client, stand_in):
    rider = client.v1.customers.create(
        {"invoice_settings": {"default_payment_method": "pm_card_visa"}}
    )
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method"):
        pay(client, customer=rider.id)
    assert stand_in.payment_intents()["count"] == 0


def test_an_intent_is_confirmed_later(client, stand_in, rider):
    intent = client.v1.payment_intents.create(
        {"amount": 2000, "currency": "usd", "customer": rider.id}
    )
    assert intent.status == "requires_payment_method"
    assert stand_in.charges() == []
    confirmed = client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert confirmed.status == "succeeded"
    assert len(stand_in.charges(status="succeeded")) == 1


def test_an_intent_keeps_the_payment_method_that_it_was_made_with(client):
    intent = client.v1.payment_intents.create(
        {"amount": 2000, "currency": "usd", "payment_method": "pm_card_visa"}
    )
    assert intent.status == "requires_confirmation"
    assert client.v1.payment_intents.confirm(intent.id).payment_method == intent.payment_method


def test_a_decline_takes_the_payment_method_off_the_intent(client):
    intent = client.v1.payment_intents.create(
        {"amount": 2000, "currency": "usd", "payment_method": "pm_card_chargeCustomerFail"}
    )
    with pytest.raises(stripe.CardError) as declined:
        client.v1.payment_intents.confirm(intent.id)
    error = client.v1.payment_intents.retrieve(intent.id).last_payment_error
    assert declined.value.error.payment_intent.payment_method is None
    assert error.payment_method.id == intent.payment_method


def test_a_declined_intent_can_be_paid_with_another_card(client, stand_in):
    with pytest.raises(stripe.CardError) as declined:
        pay(client, payment_method="pm_card_chargeCustomerFail")
    intent_id = declined.value.error.payment_intent.id
    paid = client.v1.payment_intents.confirm(intent_id, {"payment_method": "pm_card_visa"})
    assert (paid.status, paid.last_payment_error) == ("succeeded", None)
    assert [charge["status"] for charge in stand_in.charges()] == ["failed", "succeeded"]


@pytest.mark.parametrize("verb", ["confirm", "cancel"])
def test_a_paid_intent_can_no_longer_change(client, stand_in, rider, verb):
    intent = pay(client, customer=rider.id)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        getattr(client.v1.payment_intents, verb)(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"
    assert refused.value.error.payment_intent.id == intent.id
    assert len(stand_in.charges()) == 1


def test_a_canceled_intent_is_never_charged(client, stand_in):
    intent = client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
    canceled = client.v1.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert stand_in.charges() == []


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"amount": "abc"}, "parameter_invalid_integer", "amount"),
        ({"amount": 49}, "amount_too_small", "amount"),
        ({"amount": 100_000_000}, "amount_too_large", "amount"),
        ({"amount": ""}, "parameter_invalid_empty", "amount"),
        ({"currency": "xyz"}, None, "currency"),
        ({"confirm": "maybe"}, None, "confirm"),
        ({"customer": "cus_gone"}, "resource_missing", "customer"),
        ({"payment_method": "pm_gone"}, "resource_missing", "payment_method"),
        ({"confirm": False}, None, "off_session"),
        ({"expand": ["everything"]}, None, "expand"),
        ({"payment_method_types": ["ideal"]}, None, "payment_method_types"),
        ({"metadata": "flat"}, None, "metadata"),
    ],
)
def test_a_payments_parameter_that_does_not_fit_is_named(client, stand_in, params, code, param):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        pay(client, **{"payment_method": "pm_card_visa"} | params)
    assert (refused.value.http_status, refused.value.code) == (400, code)
    assert refused.value.param == param
    assert refused.value.request_id.startswith("req_")
    assert stand_in.payment_intents()["count"] == 0


def test_a_missing_parameter_is_named(client):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.create({"currency": "usd"})
    assert (refused.value.code, refused.value.param) == ("parameter_missing", "amount")


def test_a_charge_is_refunded_in_parts_and_never_beyond(client, stand_in, rider):
    intent = pay(client, customer=rider.id)
    part = client.v1.refunds.create({"charge": intent.latest_charge, "amount": 500})
    rest = client.v1.refunds.create({"payment_intent": intent.id})
    assert part.id.startswith("re_")
    assert (part.amount, rest.amount, rest.status) == (500, 1500, "succeeded")
    assert client.v1.refunds.retrieve(part.id).charge == intent.latest_charge
    listed = client.v1.refunds.list({"payment_intent": intent.id})
    assert [refund.id for refund in listed.data] == [rest.id, part.id]
    charge = client.v1.charges.retrieve(intent.latest_charge)
    assert (charge.refunded, charge.amount_refunded) == (True, 2000)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"charge": charge.id})
    assert refused.value.code == "charge_already_refunded"
    assert stand_in.charges()[0]["amount_refunded"] == 2000


def test_a_refund_is_not_larger_than_its_charge(client, rider):
    intent = pay(client, customer=rider.id)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 2001})
    assert refused.value.param == "amount"
    assert client.v1.refunds.list().data == []


def test_a_failed_charge_is_not_refunded(client):
    with pytest.raises(stripe.CardError) as declined:
        pay(client, payment_method="pm_card_chargeCustomerFail")
    with pytest.raises(stripe.InvalidRequestError, match="cannot be refunded"):
        client.v1.refunds.create({"charge": declined.value.error.charge})
    with pytest.raises(stripe.InvalidRequestError, match="successful charge"):
        client.v1.refunds.create({"payment_intent": declined.value.error.payment_intent.id})


def test_an_unconfirmed_payment_takes_no_money_and_uses_its_key_up(client, stand_in):
    asked = {"amount": 2000, "currency": "usd"}
    options = {"idempotency_key": "a-key-that-is-used-up"}
    unconfirmed = client.v1.payment_intents.create(asked, options)
    again = client.v1.payment_intents.create(asked, options)
    canceled = client.v1.payment_intents.cancel(unconfirmed.id)

    customer = client.v1.customers.create({"source": "tok_visa"}).id
    with pytest.raises(stripe.IdempotencyError):
        pay(client, key="a-key-that-is-used-up", customer=customer)
    assert (again.id, canceled.status) == (unconfirmed.id, "canceled")
    assert stand_in.charges() == []
