"""What a foreign system knows a request by: derived, so that it outlives the request's own rows."""

import uuid
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.urls import path

from idempotency import STARTED, Operation, RecoveryPoint, Response, atomic_phase, foreign_phase
from idempotency.exceptions import OutsideForeignPhase
from idempotency.foreign_keys import foreign_key_for, installation_mark, phase_key
from idempotency.models import IdempotencyKey
from idempotency.testing.clock import let_time_pass
from idempotency.tests import bookshop
from idempotency.tests import ledger as provider
from idempotency.tests.bookshop import NAMESPACE, ORDERED, PAID, Death, PlaceOrder

pytestmark = pytest.mark.django_db(transaction=True)

CALL = {"window": bookshop.WINDOW, "worst_case": timedelta(seconds=10)}
A_LEASE = timedelta(seconds=91)


class Exchange(Operation):
    """Pays twice, in two foreign phases, and reads the key wherever it may be read."""

    @atomic_phase(STARTED)
    def begin(self):
        self.seen["kept by an atomic phase"] = self.foreign_key_at("one")
        return RecoveryPoint("one")

    @foreign_phase("one", **CALL)
    def pay(self):
        return provider.pay(100, key=self.foreign_key)

    @pay.commit
    def keep(self, payment):
        self.seen["read by a commit"] = self.foreign_key
        return RecoveryPoint("two")

    @foreign_phase("two", **CALL)
    def pay_the_other(self):
        return provider.pay(200, key=self.foreign_key)

    @pay_the_other.commit
    def keep_the_other(self, payment):
        return RecoveryPoint("paid")

    @atomic_phase("paid")
    def finish(self):
        return Response(201, {})

    seen: dict[str, uuid.UUID] = {}


class Careless(Exchange):
    """Reads it where no foreign phase is in hand, after one."""

    @atomic_phase("paid")
    def finish(self):
        return Response(201, {"key": str(self.foreign_key)})


urlpatterns = [
    *bookshop.urlpatterns,
    path("exchange", Exchange.as_view()),
    path("careless", Careless.as_view()),
]


def keys_at(ledger):
    return [payment["key"] for payment in ledger.payments]


# How it is made.


def test_the_key_is_derived_from_the_user_and_the_clients_key_in_the_namespace(
    customer, key, stored, ledger
):
    customer.send(key)

    assert stored().foreign_key == uuid.uuid5(uuid.uuid5(NAMESPACE, str(customer.user.pk)), key)
    assert stored().foreign_key == foreign_key_for(customer.user, key)


def test_no_two_users_texts_can_meet():
    assert foreign_key_for(SimpleNamespace(pk="1"), "23") != foreign_key_for(
        SimpleNamespace(pk="12"), "3"
    )


def test_two_installations_ask_under_different_keys(customer, key, settings):
    here = foreign_key_for(customer.user, key)
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "FOREIGN_KEY_NAMESPACE": uuid.uuid4()}

    assert foreign_key_for(customer.user, key) != here
    assert installation_mark() == str(settings.IDEMPOTENCY["FOREIGN_KEY_NAMESPACE"])


def test_the_users_text_is_that_of_the_field_in_the_settings(customer, key, settings):
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "FOREIGN_KEY_USER_FIELD": "email"}

    assert foreign_key_for(customer.user, key) == uuid.uuid5(
        uuid.uuid5(NAMESPACE, customer.user.email), key
    )


def test_a_user_whose_field_is_empty_gets_no_key(customer, key, settings):
    """Or all such users would be one."""
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "FOREIGN_KEY_USER_FIELD": "stripe_customer_id"}

    with pytest.raises(ImproperlyConfigured, match="stripe_customer_id"):
        foreign_key_for(customer.user, key)


def test_without_a_namespace_no_request_is_taken(customer, key, settings, ledger):
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "FOREIGN_KEY_NAMESPACE": None}

    assert customer.send(key).status_code == 500
    assert not IdempotencyKey.objects.exists()


# What a loss cannot take.


def test_a_request_whose_row_was_lost_asks_under_the_same_key(customer, key, ledger):
    customer.send(key)
    IdempotencyKey.objects.all().delete()
    bookshop.Session.objects.all().delete()

    assert customer.send(key).status_code == 201
    assert len(ledger.payments) == 1


# One for each foreign phase.


def test_each_foreign_phase_has_a_key_of_its_own(customer, key, stored, ledger):
    assert customer.post({}, key, to="/exchange").status_code == 201

    row = stored()
    assert keys_at(ledger) == [str(uuid.uuid5(row.foreign_key, point)) for point in ("one", "two")]
    assert {str(each) for each in Exchange.seen.values()} == {keys_at(ledger)[0]}


def test_outside_of_a_foreign_phase_there_is_no_key_to_read(customer, key, stored, ledger):
    assert customer.post({}, key, to="/careless").status_code == 500
    assert customer.post({}, key, to="/careless").status_code == 500

    assert stored().recovery_point == "paid"
    errors = [entry["error"] for entry in stored().journal if "error" in entry]
    assert len(errors) == 2
    assert all(OutsideForeignPhase.__name__ in error for error in errors)


def test_an_atomic_phases_point_has_no_key(customer, key, stored, ledger):
    customer.send(key)
    operation = PlaceOrder(user=customer.user, params={})
    operation.key = stored()

    with pytest.raises(OutsideForeignPhase, match=PAID):
        operation.foreign_key_at(PAID)


def test_a_look_up_asks_by_the_key_that_was_sent(customer, key, ledger):
    with pytest.raises(Death):
        customer.send(key, dies_in="pay")
    let_time_pass(bookshop.WINDOW)

    assert customer.send(key).status_code == 201
    assert ledger.calls == ["POST payments", "GET payments"]


def test_a_point_that_was_renamed_twice_still_asks_under_its_first_name(
    customer, key, ledger, monkeypatch
):
    with pytest.raises(Death):
        customer.send(key, dies_in="pay")
    let_time_pass(A_LEASE)
    renamed = replace(PlaceOrder.pay, recovery_point="booked", renamed_from=(ORDERED, "placed"))
    monkeypatch.setattr(PlaceOrder, "pay", renamed)
    PlaceOrder.phases.__func__.cache_clear()
    PlaceOrder.phase_at.__func__.cache_clear()

    try:
        assert customer.send(key).status_code == 201
    finally:
        monkeypatch.undo()
        PlaceOrder.phases.__func__.cache_clear()
        PlaceOrder.phase_at.__func__.cache_clear()
    assert ledger.calls == ["POST payments", "POST payments"]
    assert len(ledger.payments) == 1


def test_the_undoing_of_a_renamed_phase_keeps_its_key_too():
    before = replace(PlaceOrder.pay).undo(lambda self: None)
    after = replace(PlaceOrder.pay, recovery_point="booked", renamed_from=(ORDERED,)).undo(
        lambda self: None
    )

    request = foreign_key_for(SimpleNamespace(pk=1), "a-key")
    assert phase_key(request, before) == phase_key(request, after)
    assert phase_key(request, before) != phase_key(request, PlaceOrder.pay)


def test_a_key_that_an_earlier_release_drew_is_sent_as_that_release_sent_it(
    customer, key, stored, ledger
):
    customer.send(key, fails_in="place_order")
    drawn = uuid.uuid4()
    IdempotencyKey.objects.update(foreign_key=drawn)

    assert customer.send(key).status_code == 201
    assert keys_at(ledger) == [str(drawn)]
