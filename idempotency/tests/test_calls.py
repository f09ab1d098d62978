"""An operation that is called from code: as by its view, and by nobody twice."""

import json
from decimal import Decimal

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.http import QueryDict

from idempotency.exceptions import (
    CalledInsideTransaction,
    IdempotencyError,
    Indeterminate,
    ParametersMismatch,
)
from idempotency.http.bodies import FORM
from idempotency.http.refusals import KeyInvalid, ParametersInvalid, Unauthenticated
from idempotency.models import IdempotencyKey
from idempotency.support.storable import TEXT_LIMIT
from idempotency.testing.faults import HOSTILE_WORDS
from idempotency.tests.bookshop import PlaceOrder, orders
from idempotency.tests.ledger import Fault

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def call(customer, key, ledger):
    def call(**changes):
        return PlaceOrder.call(user=customer.user, key=key, params={**customer.order, **changes})

    return call


def test_it_is_answered_as_by_the_view_and_a_second_time_the_same(call, ledger):
    first, again = call(), call()

    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(orders()) == len(ledger.payments) == 1


def test_the_view_and_the_call_serve_one_key(call, customer, key):
    called, sent = (
        call(discount=1.50),
        customer.post(b'{"title": "Emma", "price_cents": 900, "discount": 1.5}', key),
    )

    assert sent.headers["Idempotent-Replayed"] == "true"
    assert called.content == sent.content


def test_the_key_says_that_it_came_by_no_request(call, stored):
    call()

    row = stored()
    assert (row.request_method, row.request_path) == ("CALL", "idempotency.PlaceOrder")
    assert row.origin_ip is None


def test_what_the_view_would_refuse_is_raised(call, customer):
    with pytest.raises(ParametersInvalid, match="colour"):
        call(colour="red")
    with pytest.raises(ParametersInvalid, match="price_cents: must be a number"):
        call(price_cents="900")
    with pytest.raises(KeyInvalid):
        PlaceOrder.call(user=customer.user, key="short", params=customer.order)
    assert not IdempotencyKey.objects.exists()

    call()
    with pytest.raises(ParametersMismatch):
        call(price_cents=901)


def test_an_outcome_that_is_not_known_is_raised_and_a_second_call_ends_it(call, ledger):
    ledger.faults = [Fault.ERROR_AFTER]

    with pytest.raises(Indeterminate) as failure:
        call()

    assert (failure.value.status, failure.value.retryable) == (503, True)
    assert call().status_code == 201
    assert len(ledger.payments) == 1


@pytest.mark.parametrize("value", [float("nan"), object(), {1: 2}, b"bytes", Decimal("Infinity")])
def test_a_value_that_json_does_not_have_is_named(call, value):
    with pytest.raises(ParametersInvalid, match=r"title: a .+ has no form in JSON"):
        call(title=value)


@pytest.mark.parametrize("user", [None, AnonymousUser()])
def test_a_call_for_nobody_is_refused_as_by_the_view(user, key):
    with pytest.raises(Unauthenticated):
        PlaceOrder.call(user=user, key=key, params={"title": "Emma", "price_cents": 900})


@pytest.mark.parametrize("params", [["Emma"], "Emma", 7, [], False])
def test_a_body_that_is_no_object_is_refused_as_what_the_client_sent(customer, key, params):
    with pytest.raises(ParametersInvalid, match="to be an object"):
        PlaceOrder.call(user=customer.user, key=key, params=params)


def test_a_form_that_a_framework_has_read_is_texts_as_the_views_own(customer, key, ledger):
    form = QueryDict("title=Emma&price_cents=900")

    called = PlaceOrder.call(user=customer.user, key=key, params=form)
    sent = customer.post(form.urlencode(), key, content_type=FORM)

    assert called.status_code == 201
    assert (sent.content, sent.headers["Idempotent-Replayed"]) == (called.content, "true")


@pytest.mark.parametrize("more", ["Persuasion", SimpleUploadedFile("cover.png", b"PNG")])
def test_a_form_that_repeats_a_name_or_has_a_file_is_refused(customer, key, more):
    form = QueryDict("title=Emma&price_cents=900", mutable=True)
    form.appendlist("title", more)

    with pytest.raises(ParametersInvalid, match="title"):
        PlaceOrder.call(user=customer.user, key=key, params=form)


def test_the_message_of_an_error_can_be_sent_whatever_the_foreign_system_said(call, monkeypatch):
    def say_anything(_):
        raise Indeterminate(HOSTILE_WORDS)

    monkeypatch.setattr(PlaceOrder.pay, "method", say_anything)

    with pytest.raises(Indeterminate) as failure:
        call()

    assert len(failure.value.message.encode()) <= 4 * TEXT_LIMIT
    assert "\x00" not in failure.value.message


def test_in_a_transaction_it_is_refused_before_anything_is_done(call):
    with pytest.raises(CalledInsideTransaction, match="stage_operation"), transaction.atomic():
        call()

    assert not IdempotencyKey.objects.exists()


def test_whatever_fails_is_the_error_that_a_client_would_get(call, monkeypatch):
    monkeypatch.setattr(PlaceOrder.place_order, "method", lambda _: 1 / 0)

    with pytest.raises(IdempotencyError) as failure:
        call()

    assert (failure.value.status, failure.value.code) == (500, "internal_error")
    assert "ZeroDivisionError" not in str(failure.value)
    assert json.dumps(str(failure.value)).isascii()
