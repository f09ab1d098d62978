"""Stripe's clock, which a test may set otherwise than the machine's."""

import time
from email.utils import parsedate_to_datetime

import pytest

from sandbox.tests.conftest import pay

HOUR = 3600


@pytest.mark.parametrize("ahead_seconds", [-4 * HOUR, -600, 0, 600, 4 * HOUR])
def test_answers_and_objects_are_dated_by_the_clock_that_was_set(
    client, stand_in, post, ahead_seconds
):
    stand_in.set_clock(ahead_seconds)

    answered_at = parsedate_to_datetime(post("/v1/customers", {}).headers["Date"]).timestamp()
    created = client.v1.customers.create().created

    assert answered_at == pytest.approx(time.time() + ahead_seconds, abs=5)
    assert created == pytest.approx(time.time() + ahead_seconds, abs=5)


def test_a_list_is_complete_although_the_clock_was_set_back(client, stand_in):
    customer = client.v1.customers.create({"source": "tok_visa"}).id
    first = pay(client, customer=customer)
    stand_in.set_clock(-2 * HOUR)
    pay(client, customer=customer)

    found = client.v1.payment_intents.list({"created": {"gte": first.created - HOUR}})

    assert [each.id for each in found.data] == [first.id]


def test_keys_are_forgotten_by_the_clock_that_was_set(client, stand_in):
    customer = client.v1.customers.create({"source": "tok_visa"}).id
    first = pay(client, key="the-key", customer=customer)
    stand_in.set_clock(23 * HOUR)
    assert pay(client, key="the-key", customer=customer).id == first.id
    stand_in.set_clock(25 * HOUR)

    assert pay(client, key="the-key", customer=customer).id != first.id


def test_a_reset_sets_the_clock_right(client, stand_in):
    stand_in.set_clock(HOUR)
    stand_in.reset()

    assert client.v1.customers.create().created == pytest.approx(time.time(), abs=5)
