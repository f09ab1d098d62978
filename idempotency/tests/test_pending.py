"""What a foreign system has under way: neither an answer nor a failure."""

import json
import logging
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from django.urls import path
from django.utils import timezone

from idempotency import (
    STARTED,
    NoOp,
    Operation,
    Pending,
    RecoveryPoint,
    Response,
    Undo,
    foreign_phase,
    stopping,
)
from idempotency.claims import take_over_next_due_key
from idempotency.exceptions import PendingMisused, UnsendableAnswer
from idempotency.foreign_keys import phase_key
from idempotency.models import IdempotencyKey
from idempotency.review import decisions
from idempotency.review.decisions import Decision
from idempotency.support.positions import Position
from idempotency.testing.clock import earlier
from idempotency.tests import bookshop
from idempotency.tests import ledger as provider
from idempotency.tests.ledger import Fault
from idempotency.watching.standing import standing
from idempotency.workers.completing import complete_due_keys, complete_key
from idempotency.workers.due import find_due_keys
from idempotency.workers.reaping import reap

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "secret-of-the-transfer"
ASKS_AGAIN_IN = timedelta(minutes=10)
GIVES_UP_AFTER = timedelta(hours=1)


class Transfer(Operation):
    """Pay by a way that may take days."""

    @foreign_phase(STARTED, window=bookshop.WINDOW, worst_case=timedelta(seconds=10))
    def transfer(self):
        return what_became_of(provider.transfer(100, key=self.foreign_key))

    @transfer.lookup
    def find_transfer(self):
        payment = provider.read_transfer(key=self.foreign_key)
        return what_became_of(payment) if payment["id"] else None

    @transfer.follow
    def follow_transfer(self, reference):
        return what_became_of(provider.read_transfer(key=reference))

    @transfer.withdraw
    def cancel_transfer(self, reference):
        return what_became_of(provider.cancel_transfer(key=reference))

    @transfer.rejected(provider.Declined)
    def transfer_declined(self, error):
        return Response.error(402, str(error), code="declined")

    @transfer.undo
    def take_back(self):
        return provider.cancel_transfer(key=self.foreign_key_at(STARTED))["status"]

    @transfer.commit
    def keep(self, payment):
        return Response(201, {"payment": payment})

    def record_pending(self, kept):
        Session.objects.update_or_create(
            session_key=str(self.key.foreign_key),
            defaults={"session_data": kept.pop(), "expire_date": timezone.now()},
        )
        recording_pending()


def recording_pending():
    """Replaced by tests."""


def what_became_of(payment):
    if payment["status"] in ("pending", "fixed"):
        return Pending(
            payment["key"],
            {"status": payment["status"], "secret": SECRET},
            ask_again_in=ASKS_AGAIN_IN,
            gives_up_after=GIVES_UP_AFTER,
            kept=[payment["status"]],
        )
    if payment["status"] == "succeeded":
        return payment["id"]
    raise provider.Declined(f"The transfer was {payment['status']}.")


class Unfollowed(Operation):
    """It says that something is pending, and has no way to ask about it."""

    @foreign_phase(STARTED, window=bookshop.WINDOW, worst_case=timedelta(seconds=10))
    def transfer(self):
        return what_became_of(provider.transfer(100, key=self.foreign_key))

    @transfer.commit
    def keep(self, payment):
        return Response(201, {"payment": payment})


class Relay(Operation):
    """Two transfers, one after the other; without the second the first is given back."""

    @foreign_phase(STARTED, window=bookshop.WINDOW, worst_case=timedelta(seconds=10))
    def transfer(self):
        return what_became_of(provider.transfer(100, key=self.foreign_key))

    @transfer.commit
    def transferred(self, payment):
        return RecoveryPoint("transferred")

    @transfer.undo
    def take_back(self):
        return provider.give_back(key=self.foreign_key_at(STARTED))

    @foreign_phase("transferred", window=bookshop.WINDOW, worst_case=timedelta(seconds=10))
    def transfer_more(self):
        return what_became_of(provider.transfer(200, key=self.foreign_key))

    @transfer_more.rejected(provider.Declined)
    def more_declined(self, error):
        return Undo()

    @transfer_more.commit
    def keep(self, payment):
        return Response(201, {"payment": payment})

    @transfer.follow
    @transfer_more.follow
    def follow_transfer(self, reference):
        return what_became_of(provider.read_transfer(key=reference))

    @transfer.withdraw
    @transfer_more.withdraw
    def cancel_transfer(self, reference):
        return what_became_of(provider.cancel_transfer(key=reference))


class Hesitant(Operation):
    """Its payment is made, and its commit would rather wait."""

    @foreign_phase(STARTED, window=bookshop.WINDOW, worst_case=timedelta(seconds=10))
    def transfer(self):
        return what_became_of(provider.transfer(100, key=self.foreign_key))

    @transfer.commit
    def keep(self, payment):
        return NoOp()


urlpatterns = [
    path("transfers", Transfer.as_view()),
    path("unfollowed", Unfollowed.as_view()),
    path("hesitant", Hesitant.as_view()),
    path("relays", Relay.as_view()),
]


@pytest.fixture
def send(customer, key, ledger):
    """Send the request: the first time the transfer is pending."""
    ledger.faults = [Fault.PENDING]
    return lambda **fields: customer.post(fields, key, to="/transfers")


@pytest.fixture
def pending(send, stored):
    send()
    return stored()


def let_pass(time):
    """Have everything that the key has been through be so much longer ago."""
    times = ("run_after", "pending_since", "gives_up_at", "created_at", "foreign_sent_at")
    IdempotencyKey.objects.update(**{name: earlier(name, time) for name in times})


def test_the_client_gets_what_it_needs_to_go_on(send):
    answer = send()

    assert answer.status_code == 202
    assert answer.json() == {"status": "pending", "secret": SECRET}
    assert answer.headers["Retry-After"] == "600"


def test_what_comes_with_it_is_written_down_in_the_same_commit(send, monkeypatch):
    conflicts = ["40P01", "40001"]
    monkeypatch.setattr(
        f"{__name__}.recording_pending", lambda: conflicts and raise_in_sql(conflicts.pop())
    )

    assert send().status_code == 202

    assert Session.objects.get().session_data == "pending"
    assert conflicts == []


def test_where_that_fails_nothing_of_it_is_committed(send, stored, monkeypatch):
    monkeypatch.setattr(f"{__name__}.recording_pending", lambda: raise_in_sql("22012"))

    assert send().status_code == 500

    assert (Session.objects.count(), stored().is_pending) == (0, False)


def raise_in_sql(code):
    with connection.cursor() as cursor:
        cursor.execute(f"DO $$ BEGIN RAISE SQLSTATE '{code}'; END $$")


def test_it_is_kept_with_the_answer_and_the_lease_is_let_go(pending):
    assert json.loads(pending.pending_answer)["secret"] == SECRET
    assert pending.foreign_reference == str(pending_key(pending))
    assert pending.gives_up_at - pending.pending_since == GIVES_UP_AFTER
    assert pending.locked_at is pending.needs_review_at is None
    assert pending.last_error == ""
    assert [entry["event"] for entry in pending.journal] == ["claimed", "transfer"]
    assert pending.journal[-1]["pending"] is True


def pending_key(row):

    return phase_key(row.foreign_key, Transfer.transfer)


def test_a_retry_before_the_next_look_gets_the_same_answer_by_two_selects(send, ledger):
    first = send()

    with CaptureQueriesContext(connection) as statements:
        again = send()

    assert (again.status_code, again.content) == (202, first.content)
    assert 0 < int(again.headers["Retry-After"]) <= 600
    assert [each["sql"].split()[0] for each in statements] == ["SELECT", "SELECT"]
    assert ledger.calls == ["POST payments"]


def test_a_retry_with_other_parameters_is_refused(send, customer, key, pending):
    assert send(amount="2").json()["code"] == "parameters_mismatch"


def test_a_later_retry_asks_by_the_reference_and_sends_nothing_again(send, pending, ledger):
    let_pass(ASKS_AGAIN_IN)

    assert send().status_code == 202
    assert ledger.calls == ["POST payments", "GET payments"]


@pytest.mark.usefixtures("pending")
def test_it_is_never_sent_again_however_late_it_is_asked(send, ledger):
    IdempotencyKey.objects.update(foreign_sent_at=timezone.now() - timedelta(days=3))
    IdempotencyKey.objects.update(run_after=timezone.now())
    ledger.forget_keys()

    assert send().status_code == 202
    assert ledger.calls == ["POST payments", "GET payments"]


@pytest.mark.usefixtures("pending")
def test_what_succeeded_meanwhile_finishes_the_request(send, ledger, stored):
    ledger.settle("succeeded")
    let_pass(ASKS_AGAIN_IN)

    answer = send()

    assert (answer.status_code, answer.json()) == (201, {"payment": "payment-1"})
    key = stored()
    assert key.pending_since is key.pending_answer is key.foreign_reference is None
    assert key.gives_up_at is None
    assert send().headers["Idempotent-Replayed"] == "true"


@pytest.mark.usefixtures("pending")
def test_what_failed_meanwhile_ends_as_a_refusal(send, ledger, stored):
    ledger.settle("failed")
    let_pass(ASKS_AGAIN_IN)

    assert send().status_code == 402
    assert stored().pending_answer is None


# The completer.


def test_the_completer_asks_on_the_phases_schedule(send, pending, ledger):
    assert pending.run_after - pending.last_run_at < ASKS_AGAIN_IN + timedelta(seconds=5)
    for times in range(1, 4):
        let_pass(ASKS_AGAIN_IN)
        completed = complete_due_keys(10)
        assert (completed.total, completed.details["pending"]) == (0, 1)
        assert complete_due_keys(10).details["pending"] == 0
        assert ledger.calls.count("GET payments") == times


def test_no_attempt_is_burnt_however_often_the_completer_asks(pending, stored, settings):
    settings.IDEMPOTENCY["MAX_ATTEMPTS"] = 2
    for _ in range(5):
        let_pass(ASKS_AGAIN_IN)
        complete_due_keys(10)

    assert stored().completer_attempts == 0
    assert stored().needs_review_at is None


@pytest.mark.usefixtures("pending")
def test_the_completer_finishes_what_succeeded(ledger, stored, send):
    ledger.settle("succeeded")
    let_pass(ASKS_AGAIN_IN)

    assert complete_due_keys(10).counts["succeeded"] == 1
    assert send().status_code == 201


@pytest.mark.usefixtures("pending")
def test_a_question_that_fails_leaves_it_pending(ledger, stored, send):
    let_pass(ASKS_AGAIN_IN)
    ledger.faults = [Fault.ERROR_BEFORE]

    assert send().json()["code"] == "outcome_unknown"

    assert stored().is_pending
    assert stored().foreign_reference is not None
    assert send().status_code == 202


def test_a_key_that_waits_long_by_its_own_schedule_is_not_made_due(pending, stored):
    in_a_while = timezone.now() + timedelta(hours=20)
    IdempotencyKey.objects.update(run_after=in_a_while)

    assert not find_due_keys(Position())
    assert stored().run_after == in_a_while


def test_a_key_that_waits_longer_than_any_schedule_has_it_is_made_due(pending, stored):
    IdempotencyKey.objects.update(run_after=timezone.now() + timedelta(hours=30))

    assert find_due_keys(Position())
    assert stored().run_after <= timezone.now()


# Giving up.


@pytest.mark.usefixtures("pending")
def test_past_its_time_it_is_withdrawn_and_the_request_is_refused(ledger, send, stored):
    let_pass(GIVES_UP_AFTER)

    complete_due_keys(10)

    assert ledger.payments[0]["status"] == "canceled"
    assert send().status_code == 402
    assert stored().pending_since is None


@pytest.mark.usefixtures("pending")
def test_what_came_just_before_it_was_withdrawn_counts(ledger, send):
    let_pass(GIVES_UP_AFTER)
    ledger.settle("succeeded")

    complete_due_keys(10)

    assert send().status_code == 201


def test_what_cannot_be_withdrawn_is_asked_about_again(pending, ledger, send, stored):
    let_pass(GIVES_UP_AFTER)
    ledger.settle("fixed")

    assert complete_due_keys(10).details["pending"] == 1
    assert stored().is_pending
    ledger.settle("fixed")
    assert send().status_code == 202


@pytest.mark.usefixtures("pending")
def test_a_question_that_is_asked_again_does_not_put_off_the_end(stored, send):
    before = stored().gives_up_at
    IdempotencyKey.objects.update(run_after=timezone.now())

    send()

    assert stored().gives_up_at == before


@pytest.mark.usefixtures("pending")
def test_the_reaper_passes_over_what_is_pending(stored):
    let_pass(timedelta(minutes=50))
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(days=30))

    reap(100)

    assert stored().needs_review_at is None


@pytest.mark.usefixtures("pending")
def test_a_day_after_it_should_have_ended_a_person_sees_it(ledger, stored):
    ledger.settle("fixed")
    let_pass(GIVES_UP_AFTER + timedelta(hours=23))
    reap(100)
    assert stored().needs_review_at is None
    let_pass(timedelta(hours=2))

    reap(100)

    assert stored().needs_review_at is not None
    assert stored().foreign_reference is not None


def test_a_person_may_undo_it(pending, ledger, stored):
    claim = take_over_next_due_key()
    assert claim is None
    IdempotencyKey.objects.update(needs_review_at=timezone.now())

    outcome = decisions.undo(decided(stored()))

    assert outcome.status == 409
    assert ledger.payments[0]["status"] == "canceled"
    assert stored().pending_since is None


def test_a_person_may_have_it_asked_about_again(pending, ledger, stored):
    IdempotencyKey.objects.update(needs_review_at=timezone.now())
    ledger.settle("succeeded")

    assert decisions.run_again(decided(stored())).status == 201
    assert ledger.calls == ["POST payments", "GET payments"]


def decided(key):
    return Decision(key_id=key.pk, lease_token=key.lease_token, reviewer="Ada", reason="seen")


class Reserved(Transfer):
    """Nobody may go on with it without its client; and a refusal of it may be asked anew."""

    name = "idempotency.Reserved"

    def may_go_on(self):
        return False


@pytest.mark.usefixtures("pending")
def test_who_may_not_be_gone_on_with_is_asked_about_all_the_same(ledger, stored):
    IdempotencyKey.objects.update(operation=Reserved.name)
    ledger.settle("succeeded")
    let_pass(ASKS_AGAIN_IN)

    complete_due_keys(10)

    assert stored().response_code == 201


@pytest.mark.usefixtures("pending")
def test_a_process_that_was_stopped_meanwhile_notes_nothing_as_pending(send, stored, ledger):
    before = stored().journal
    let_pass(ASKS_AGAIN_IN)
    stopped = ledger.meanwhile(stopping.abandon)
    try:
        assert send().json()["code"] == "stopping"
    finally:
        stopping.forget()

    stopped.result()
    assert [entry for entry in stored().journal if entry.get("pending")] == before[-1:]


@pytest.mark.usefixtures("pending")
def test_what_is_pending_is_not_asked_anew_whatever_was_refused(stored, monkeypatch):
    monkeypatch.setattr(Transfer.transfer, "asks_anew", True)
    refused = {"event": "needs_review", "refused": True, "attempt": 1, "at": "2026-11-30"}
    journal = [*stored().journal, refused]
    IdempotencyKey.objects.update(needs_review_at=timezone.now(), journal=journal)

    decisions.run_again(decided(stored()))

    assert stored().foreign_question == 0
    assert stored().is_pending


# What is never written down, and what is refused.


def test_the_answer_is_neither_logged_nor_in_the_journal(send, stored, caplog):
    caplog.set_level(logging.DEBUG)
    send()
    let_pass(ASKS_AGAIN_IN)
    complete_due_keys(10)

    assert SECRET not in caplog.text
    assert SECRET not in json.dumps(stored().journal)


def test_what_is_pending_is_shown_to_a_person_without_its_answer(pending, capsys):
    said = decisions.ask_foreign_system(pending)
    call_command("review", "show", str(pending.pk))

    assert said == f"It is under way there, as {pending.foreign_reference}."
    assert SECRET not in said + capsys.readouterr().out


def test_no_text_of_what_is_pending_has_its_answer():
    assert SECRET not in repr(what_became_of({"status": "pending", "key": "transfer-1"}))


def test_a_phase_that_cannot_ask_may_not_say_that_it_is_pending(customer, key, ledger, stored):
    ledger.faults = [Fault.PENDING]

    assert customer.post({}, key, to="/unfollowed").status_code == 500
    assert "follow" in stored().last_error
    assert not stored().is_pending


def test_a_commit_that_would_wait_is_told_of_pending(customer, key, ledger, stored):
    assert customer.post({}, key, to="/hesitant").status_code == 500
    assert "Pending" in stored().last_error


@pytest.mark.parametrize(
    "wrong",
    [
        {"reference": ""},
        {"reference": "a\x00b"},
        {"ask_again_in": timedelta(0)},
        {"ask_again_in": timedelta(days=2)},
        {"gives_up_after": timedelta(days=-1)},
        {"gives_up_after": timedelta.max},
    ],
)
def test_what_could_not_be_kept_is_refused_where_it_is_made(wrong):
    right = {"reference": "1", "answer": {}, "ask_again_in": ASKS_AGAIN_IN}
    with pytest.raises(PendingMisused):
        Pending(**{**right, "gives_up_after": GIVES_UP_AFTER, **wrong})


def test_an_answer_that_cannot_be_sent_is_refused_where_it_is_made():
    with pytest.raises(UnsendableAnswer):
        Pending("1", {object()}, ask_again_in=ASKS_AGAIN_IN, gives_up_after=GIVES_UP_AFTER)


def test_the_database_keeps_all_of_it_or_nothing(pending):
    with pytest.raises(IntegrityError):
        IdempotencyKey.objects.update(pending_answer=None)


def test_a_process_that_lost_its_lease_notes_nothing_as_pending(send, stored, ledger):
    def taken_over():
        IdempotencyKey.objects.update(locked_at=timezone.now() - timedelta(hours=1))
        IdempotencyKey.objects.update(run_after=timezone.now())
        return complete_key(take_over_next_due_key())

    other = ledger.meanwhile(taken_over)

    assert send().json()["code"] == "request_in_progress"
    assert other.result() == "pending"
    assert stored().attempt == 2


def test_what_has_ended_is_not_asked_about_by_the_next_phase(customer, key, ledger, stored):
    ledger.faults = [Fault.PENDING]
    customer.post({}, key, to="/relays")
    ledger.settle("succeeded")
    let_pass(ASKS_AGAIN_IN)

    assert customer.post({}, key, to="/relays").json() == {"payment": "payment-2"}
    assert [payment["amount_cents"] for payment in ledger.payments] == [100, 200]


def test_what_has_ended_is_not_asked_about_by_the_undo_that_follows(customer, key, ledger, stored):
    ledger.faults = [None, Fault.PENDING]
    customer.post({}, key, to="/relays")
    ledger.settle("failed")
    let_pass(ASKS_AGAIN_IN)

    assert customer.post({}, key, to="/relays").json()["code"] == "cancelled"
    assert [payment["status"] for payment in ledger.payments] == ["refunded", "failed"]


def test_what_is_pending_elsewhere_is_counted_and_its_age_is_no_alarm(pending):
    let_pass(timedelta(minutes=50))
    tiles = {tile.name: tile for tile in standing().tiles}

    assert (tiles["unfinished"].count, tiles["pending"].count) == (1, 1)
    assert not tiles["unfinished"].alarm
    ended = dict.fromkeys(("pending_since", "pending_answer", "gives_up_at", "foreign_reference"))
    IdempotencyKey.objects.update(**ended)
    assert next(tile for tile in standing().tiles if tile.name == "unfinished").alarm
