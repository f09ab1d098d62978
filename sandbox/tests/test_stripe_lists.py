"""Lists: newest first, in pages, filtered by customer and by time of creation."""

import pytest
import stripe

from sandbox.tests.conftest import pay


@pytest.fixture
def intents(client):
    """Five payments of one customer, newest first."""
    rider = client.v1.customers.create({"source": "tok_visa"})
    made = [pay(client, customer=rider.id) for _ in range(5)]
    return made[::-1]


def ids(objects):
    return [each.id for each in objects]


def test_the_newest_comes_first_and_says_when_there_is_more(client, intents):
    first = client.v1.payment_intents.list({"limit": 2})
    assert ids(first.data) == ids(intents[:2])
    assert first.has_more
    assert first.url == "/v1/payment_intents"
    rest = client.v1.payment_intents.list({"limit": 3, "starting_after": first.data[-1].id})
    assert ids(rest.data) == ids(intents[2:])
    assert not rest.has_more


def test_ending_before_pages_backwards(client, intents):
    page = client.v1.payment_intents.list({"limit": 2, "ending_before": intents[3].id})
    assert ids(page.data) == ids(intents[1:3])
    assert page.has_more
    first = client.v1.payment_intents.list({"limit": 2, "ending_before": intents[1].id})
    assert ids(first.data) == ids(intents[:1])
    assert not first.has_more


def test_the_client_pages_through_everything(client, intents):
    paged = client.v1.payment_intents.list({"limit": 2}).auto_paging_iter()
    assert ids(paged) == ids(intents)


def test_payments_and_charges_are_listed_by_customer(client, intents):
    other = client.v1.customers.create({"source": "tok_visa"})
    payment = pay(client, customer=other.id)
    by_customer = {"customer": other.id}
    assert ids(client.v1.payment_intents.list(by_customer).data) == [payment.id]
    assert ids(client.v1.charges.list(by_customer).data) == [payment.latest_charge]
    by_intent = client.v1.charges.list({"payment_intent": payment.id})
    assert ids(by_intent.data) == [payment.latest_charge]


@pytest.mark.parametrize("resource", ["payment_intents", "charges"])
def test_the_time_of_creation_narrows_a_list(client, intents, resource):
    service = getattr(client.v1, resource)
    oldest, newest = intents[-1].created, intents[0].created

    def count(created):
        return len(service.list({"created": created}).data)

    assert count({"gte": oldest, "lte": newest}) == 5
    assert count({"gt": oldest - 1, "lt": newest + 1}) == 5
    assert count({"gt": newest}) == 0
    assert count({"gte": newest + 1}) == 0
    assert count({"lt": oldest}) == 0
    assert count({"lte": oldest - 1}) == 0
    assert count(newest) >= 1
    assert count(newest + 1) == 0


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"starting_after": "pi_gone"}, "starting_after"),
        ({"created": "yesterday"}, "created"),
        ({"created": {"since": 1}}, "created[since]"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_filter_that_does_not_fit_is_named(client, params, param):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.list(params)
    assert (refused.value.http_status, refused.value.param) == (400, param)
