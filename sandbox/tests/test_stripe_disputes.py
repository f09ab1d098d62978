"""Disputes, and refunds that somebody makes in the dashboard: what the control API arranges."""

import time

import pytest
import stripe

from sandbox.stripe.control import ControlError
from sandbox.tests.conftest import pay


@pytest.fixture
def charge_id(client):
    rider = client.v1.customers.create({"source": "tok_visa"})
    return pay(client, customer=rider.id, metadata={"ride": "1"}).latest_charge


def test_a_charge_is_disputed_and_says_so(client, stand_in, charge_id):
    dispute_id = stand_in.dispute(charge_id)

    dispute = client.v1.disputes.retrieve(dispute_id, {"expand": ["charge"]})
    assert (dispute.object, dispute.amount, dispute.currency) == ("dispute", 2000, "usd")
    assert (dispute.status, dispute.reason) == ("needs_response", "fraudulent")
    assert dispute.charge.metadata["ride"] == "1"
    assert dispute.charge.disputed
    assert stand_in.charges()[0]["disputed"] is True


@pytest.mark.parametrize(
    ("status", "won"), [("needs_response", "won"), ("warning_needs_response", "warning_closed")]
)
def test_a_dispute_is_won_or_lost(client, stand_in, charge_id, status, won):
    first = stand_in.dispute(charge_id, status=status)
    second = stand_in.dispute(charge_id, status=status)

    assert stand_in.settle(first, succeeds=True) == won
    assert stand_in.settle(second, succeeds=False) == "lost"
    with pytest.raises(ControlError):
        stand_in.settle(first, succeeds=False)
    assert client.v1.charges.retrieve(charge_id).disputed


def test_what_a_bank_has_taken_back_cannot_be_refunded(client, stand_in, charge_id):
    dispute = stand_in.dispute(charge_id)

    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"charge": charge_id})
    assert refused.value.code == "charge_disputed"

    stand_in.settle(dispute, succeeds=True)
    assert client.v1.refunds.create({"charge": charge_id}).status == "succeeded"


@pytest.mark.parametrize("resource", ["disputes", "refunds"])
def test_what_goes_back_is_listed_by_charge_and_by_its_own_time(
    client, stand_in, charge_id, resource
):
    stand_in.let_time_pass(3600)
    made = stand_in.dispute(charge_id) if resource == "disputes" else stand_in.refund(charge_id)
    service = getattr(client.v1, resource)
    now = int(time.time())

    def listed(**asked):
        return [each.id for each in service.list(asked).data]

    assert listed(charge=charge_id, created={"gte": now - 60}) == [made]
    assert listed(created={"lt": now - 60}) == []


def test_a_charge_is_refunded_in_the_dashboard_without_our_mark(client, stand_in, charge_id):
    part = client.v1.refunds.retrieve(stand_in.refund(charge_id, amount=500))
    stand_in.refund(charge_id, status="pending")

    assert (part.status, part.amount, part.metadata.to_dict()) == ("succeeded", 500, {})
    assert stand_in.charges()[0]["amount_refunded"] == 2000
    with pytest.raises(ControlError, match="already been refunded"):
        stand_in.refund(charge_id)


def test_a_refund_that_succeeded_may_fail_days_later(client, stand_in, charge_id):
    refund = stand_in.refund(charge_id)

    assert stand_in.settle(refund, succeeds=False) == "failed"
    assert client.v1.refunds.retrieve(refund).failure_reason
    assert stand_in.charges()[0]["amount_refunded"] == 0


@pytest.mark.parametrize("charge", ["ch_none", "declined"])
def test_only_a_charge_that_succeeded_can_go_back(client, stand_in, charge):
    if charge == "declined":
        with pytest.raises(stripe.CardError) as declined:
            pay(client, payment_method="pm_card_chargeCustomerFail")
        charge = declined.value.error.charge

    with pytest.raises(ControlError):
        stand_in.dispute(charge)
    with pytest.raises(ControlError):
        stand_in.refund(charge)
