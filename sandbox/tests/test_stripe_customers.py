"""Customers and payment methods, through the unmodified client."""

import pytest
import stripe

from sandbox.tests.conftest import pay


def test_a_customer_is_what_was_asked_for(client):
    made = client.v1.customers.create(
        {"email": "user@example.com", "name": "A Rider", "metadata": {"user_id": "1"}}
    )
    found = client.v1.customers.retrieve(made.id)
    assert made.id.startswith("cus_")
    assert found.email == "user@example.com"
    assert found.name == "A Rider"
    assert found.metadata["user_id"] == "1"
    assert found.default_source is None


def test_a_source_becomes_the_customers_default(client):
    customer = client.v1.customers.create(
        {"source": "tok_visa"}, {"idempotency_key": "customer-with-a-source"}
    )
    expanded = client.v1.customers.retrieve(customer.id, {"expand": ["default_source"]})
    assert customer.default_source.startswith("card_")
    assert expanded.default_source.card.last4 == "4242"


def test_an_update_changes_what_it_names_and_merges_metadata(client):
    customer = client.v1.customers.create(
        {"email": "old@example.com", "name": "A", "metadata": {"a": "1", "b": "2"}}
    )
    updated = client.v1.customers.update(
        customer.id, {"email": "new@example.com", "metadata": {"b": "", "c": "3"}}
    )
    assert (updated.email, updated.name) == ("new@example.com", "A")
    assert updated.metadata.to_dict() == {"a": "1", "c": "3"}


def test_an_updated_source_takes_the_place_of_the_first(client):
    customer = client.v1.customers.create({"source": "tok_chargeCustomerFail"})
    client.v1.customers.update(customer.id, {"source": "tok_visa"})
    assert pay(client, customer=customer.id).status == "succeeded"


def test_customers_are_listed_by_email(client):
    wanted = client.v1.customers.create({"email": "user@example.com"})
    client.v1.customers.create({"email": "other@example.com"})
    found = client.v1.customers.list({"email": "user@example.com"})
    assert [customer.id for customer in found.data] == [wanted.id]


@pytest.mark.parametrize(
    "params",
    [
        {"payment_method": "pm_card_visa"},
        {"invoice_settings": {"default_payment_method": "pm_card_visa"}},
        {
            "payment_method": "pm_card_visa",
            "invoice_settings": {"default_payment_method": "pm_card_visa"},
        },
    ],
)
def test_a_payment_method_named_at_creation_is_attached_once(client, params):
    customer = client.v1.customers.create(params)
    attached = client.v1.customers.payment_methods.list(customer.id)
    default = customer.invoice_settings.default_payment_method
    assert len(attached.data) == 1
    assert attached.data[0].id.startswith("pm_")
    assert default == (attached.data[0].id if "invoice_settings" in params else None)


def test_a_payment_method_is_made_from_a_token_and_attached(client):
    customer = client.v1.customers.create()
    method = client.v1.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
    attached = client.v1.payment_methods.attach(method.id, {"customer": customer.id})
    listed = client.v1.payment_methods.list({"customer": customer.id, "type": "card"})
    assert method.customer is None
    assert attached.customer == customer.id
    assert client.v1.payment_methods.retrieve(method.id).card.last4 == "4242"
    assert [each.id for each in listed.data] == [method.id]


def test_a_test_card_is_attached_by_its_name(client):
    customer = client.v1.customers.create()
    attached = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    assert attached.id.startswith("pm_")
    assert attached.id != "pm_card_visa"
    assert attached.customer == customer.id


def test_the_name_of_a_test_card_retrieves_a_usable_payment_method(client):
    method = client.v1.payment_methods.retrieve("pm_card_visa")
    assert pay(client, payment_method=method.id).status == "succeeded"


def test_a_payment_method_has_one_customer_at_most(client):
    first, second = client.v1.customers.create(), client.v1.customers.create()
    method = client.v1.payment_methods.attach("pm_card_visa", {"customer": first.id})
    with pytest.raises(stripe.InvalidRequestError, match="already been attached"):
        client.v1.payment_methods.attach(method.id, {"customer": second.id})
    with pytest.raises(stripe.InvalidRequestError, match="belongs to a customer"):
        pay(client, payment_method=method.id, customer=second.id)


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"source": "tok_nonsense"}, "resource_missing", "source"),
        ({"email": "nobody"}, "email_invalid", "email"),
        ({"payment_method": "pm_gone"}, "resource_missing", "payment_method"),
        ({"metadata": {"k" * 41: "v"}}, None, "metadata"),
        ({"metadata": {"k": "v" * 501}}, None, "metadata[k]"),
        ({"surprise": "1"}, "parameter_unknown", "surprise"),
    ],
)
def test_a_customers_parameter_that_does_not_fit_is_named(client, params, code, param):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.customers.create(params)
    assert (refused.value.http_status, refused.value.code) == (400, code)
    assert refused.value.param == param
    assert client.v1.customers.list().data == []


def test_an_unknown_customer_is_a_404(client):
    with pytest.raises(stripe.InvalidRequestError) as missing:
        client.v1.customers.retrieve("cus_gone")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")


def test_a_deleted_customer_pays_no_more_and_what_it_paid_is_still_listed(client):
    customer = client.v1.customers.create({"source": "tok_visa"}).id
    paid = pay(client, customer=customer)
    assert client.v1.customers.delete(customer).deleted

    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        pay(client, customer=customer)
    assert client.v1.customers.retrieve(customer).deleted
    assert [each.id for each in client.v1.payment_intents.list({"customer": customer})] == [paid.id]
