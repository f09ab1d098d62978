"""The review list: what a person is shown of a request, and what the foreign system says of it."""

from datetime import timedelta

import pytest
from django.core.management import CommandError

from idempotency.models import IdempotencyKey
from idempotency.review.decisions import ask_foreign_system, keys_under_review
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import ORDERED, WINDOW
from idempotency.tests.ledger import Fault
from idempotency.tests.reviewing import named, review, urlpatterns  # noqa: F401
from idempotency.workers.reaping import reap_finished_keys

pytestmark = pytest.mark.django_db(transaction=True)


# The list.


def test_the_list_has_what_the_system_could_not_finish_those_first_that_wait_longest(
    customer, key, ledger
):
    for n in range(2):
        ledger.faults = [Fault.ERROR_BEFORE]
        customer.send(f"{key}-{n}")
    customer.send(f"{key}-finished")
    let_time_pass(WINDOW)
    for n in (1, 0):
        customer.send(f"{key}-{n}")

    assert [row.idempotency_key for row in keys_under_review()] == [f"{key}-1", f"{key}-0"]


def test_the_list_says_where_each_stands_and_why(listed):
    row = listed()

    said = review()

    assert f"{named(row)}  since {row.needs_review_at:%Y-%m-%d %H:%M}  {ORDERED}" in said
    assert "it is too late to send it again" in said
    assert said.endswith("needs_review=1\n")
    assert review("list") == said


def test_one_request_is_shown_with_what_was_tried_and_what_the_foreign_system_says(paid_late):
    said = review("show", paid_late.pk)

    assert paid_late.idempotency_key in said
    assert str(paid_late.foreign_key) in said
    assert "operation       idempotency.PlaceReviewedOrder" in said
    assert '"title": "Emma"' in said
    assert '"looked_up": true' in said
    assert said.count("ledger answered 500") == 1
    assert said.endswith("foreign system  payment-7\n")


def test_a_request_that_is_not_there_is_not_shown(db):
    with pytest.raises(CommandError, match="no request 7"):
        review("show", 7)


# What the foreign system says.


def test_the_foreign_system_is_asked_and_nothing_is_changed(listed, ledger, stored):
    row = listed()

    assert ask_foreign_system(row) == "It has no record of the request."
    assert ledger.calls == ["GET payments"]
    assert stored().journal == row.journal


def test_a_foreign_system_that_does_not_answer_is_an_answer_too(listed, ledger):
    row = listed()
    ledger.faults = [Fault.ERROR_BEFORE]

    assert ask_foreign_system(row) == "Indeterminate: The ledger answered 500."


def test_there_is_nothing_to_ask_before_anything_was_sent(customer, key, stored, ledger):
    customer.send(key, to="/reviewed", fails_in="place_order")

    assert "nothing to ask" in ask_foreign_system(stored())
    assert ledger.calls == []


def test_there_is_something_to_ask_after_the_payment(customer, key, stored, ledger):
    customer.send(key, to="/reviewed", fails_in="confirm")

    assert ask_foreign_system(stored()) == "payment-1"


def test_a_finished_request_is_asked_about_too_until_its_parameters_are_gone(
    customer, key, stored, ledger
):
    customer.send(key, to="/reviewed")
    assert ask_foreign_system(stored()) == "payment-1"

    let_time_pass(timedelta(days=3))
    reap_finished_keys(10)
    ledger.calls.clear()

    assert "cannot be asked" in ask_foreign_system(stored())
    assert ledger.calls == []


def test_a_request_that_no_code_serves_is_shown_nevertheless(listed, stored):
    row = listed()
    IdempotencyKey.objects.update(operation="shop.Gone")

    assert "'shop.Gone'" in review("show", row.pk)
