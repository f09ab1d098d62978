"""Several undos: what foreign phases did is taken back in reverse order, each at its own point."""

from datetime import timedelta

import pytest

from idempotency.models import FINISHED, IdempotencyKey
from idempotency.review.decisions import undo
from idempotency.testing.clock import let_time_pass
from idempotency.tests import trips as shop
from idempotency.tests.ledger import Fault
from idempotency.tests.reviewing import decision
from idempotency.tests.trips import BookTrip, notes
from idempotency.workers.completing import complete_due_keys

pytestmark = pytest.mark.django_db(transaction=True)

urlpatterns = shop.urlpatterns
A_WINDOW_AND_MORE = timedelta(hours=25)


@pytest.fixture
def book(customer, key, ledger, monkeypatch):
    def book(ends="well"):
        monkeypatch.setattr(BookTrip, "ends", ends)
        return customer.post({}, key, to="/trips")

    return book


def statuses(ledger):
    return [payment["status"] for payment in ledger.payments]


def points(row):
    return [entry["recovery_point"] for entry in row.journal if "recovery_point" in entry]


def test_where_all_goes_well_nothing_is_taken_back(book, ledger):
    assert book().status_code == 201
    assert statuses(ledger) == ["succeeded"] * 3
    assert notes() == ["room", "flight"]


def test_where_the_second_says_no_the_first_is_taken_back_and_the_answer_is_final(
    book, ledger, stored
):
    ledger.faults = [None, Fault.DECLINE]

    answer = book()

    assert (answer.status_code, answer.json()["error"]) == (409, "Cancelled, room last.")
    assert statuses(ledger) == ["refunded"]
    assert notes() == ["room", "full", "cancelled"]
    assert book().headers["Idempotent-Replayed"] == "true"
    assert stored().recovery_point == FINISHED


def test_what_an_atomic_phase_undoes_is_taken_back_in_reverse_order(book, ledger, stored):
    answer = book("in regret")

    assert answer.json()["error"] == "Cancelled, room last."
    assert statuses(ledger) == ["refunded", "refunded", "succeeded"], "an insurance has no undo"
    assert notes() == ["room", "flight", "no-flight", "cancelled"]
    assert points(stored())[-5:] == [
        "undo room_booked",
        "undo room_booked",
        "undo started",
        "undo started",
        FINISHED,
    ]


def test_a_persons_decision_takes_all_back(book, ledger, stored):
    book("before a person")
    assert stored().is_under_review

    outcome = undo(decision(stored()))

    assert outcome.status == 409
    assert statuses(ledger) == ["refunded", "refunded"]


def test_an_undo_that_fails_is_gone_on_with_where_it_stopped(book, ledger, stored):
    ledger.faults = [None, None, None, None, Fault.ERROR_BEFORE]

    assert book("in regret").status_code == 503
    assert (stored().recovery_point, statuses(ledger)[:2]) == (
        "undo started",
        ["succeeded", "refunded"],
    )
    let_time_pass(timedelta(seconds=301))
    assert complete_due_keys(10).counts["succeeded"] == 1

    assert statuses(ledger)[:2] == ["refunded", "refunded"]
    assert ledger.calls.count("POST refunds") == 3
    assert notes().count("no-flight") == notes().count("cancelled") == 1


def test_an_undo_is_told_of_no_later_sending_than_its_own(book, ledger, stored, monkeypatch):
    """How much the other system still knows of a call is judged by when it was first made."""
    told = {}

    def note_time(self):
        told[self.phase_in_hand.recovery_point] = self.key.foreign_sent_at
        return {"what": "it", "payment": ""}

    book("before a person")
    let_time_pass(A_WINDOW_AND_MORE)
    monkeypatch.setattr(BookTrip.cancel_room, "method", note_time)
    monkeypatch.setattr(BookTrip.cancel_flight, "method", note_time)
    undo(decision(stored()))

    assert told["undo started"] <= stored().created_at
    assert told["undo room_booked"] <= stored().created_at


def test_an_undo_with_nothing_to_take_back_is_the_authors_to_mend(
    book, ledger, stored, monkeypatch
):
    from idempotency import Undo

    monkeypatch.setattr(BookTrip.book_room, "method", lambda self: Undo())
    monkeypatch.setattr(BookTrip, "room_booked", lambda self, outcome: outcome)

    assert book().status_code == 500
    assert "no phase before it has an undo" in stored().last_error
    assert IdempotencyKey.objects.get().recovery_point == "started"
