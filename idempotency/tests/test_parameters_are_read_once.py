"""What a request asked for is what every attempt does, whatever its form would say by then."""

import json
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from urllib.parse import urlencode

import pytest
from django import forms
from django.contrib.auth.models import Group

from idempotency import STARTED, Operation, Response, atomic_phase
from idempotency.models import IdempotencyKey
from idempotency.operations import operation_for
from idempotency.review.decisions import Decision, adopt, ask_foreign_system, close, run_again, undo
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import orders
from idempotency.tests.ledger import Fault
from idempotency.tests.school import (
    COURSES,
    SEATS,
    Enrol,
    EnrolForm,
    asked_for,
    enrolments,
    new_course,
    read,
    urlpatterns,  # noqa: F401
    user_in_the_netherlands,
)
from idempotency.workers.completing import complete_due_keys

pytestmark = pytest.mark.django_db(transaction=True)

FORM = "application/x-www-form-urlencoded"
UNTIL_IT_IS_DUE = timedelta(hours=1)


@pytest.fixture
def course():
    return new_course()


@pytest.fixture
def enrol(customer, key, course, ledger):
    """Enrol as the user in the Netherlands does, with some fields changed."""

    def enrol(*, to="/enrolments", key=key, **changes):
        body = urlencode(asked_for(course, **changes), doseq=True)
        with user_in_the_netherlands():
            return customer.post(body, key, to=to, content_type=FORM)

    return enrol


@pytest.fixture
def lose_answer(enrol, ledger):
    """The first attempt: the money is taken, and nobody knows."""

    def lose_answer(**changes):
        ledger.faults = [Fault.RESET_AFTER]
        answer = enrol(**changes)
        assert answer.status_code == 503
        return answer

    return lose_answer


def decision_on(row):
    return Decision(key_id=row.pk, reviewer="ann", reason="looked", lease_token=row.lease_token)


def finish(how, enrol):
    """Finish what is in flight, by the client's retry or by the completer."""
    if how == "client":
        return enrol()
    let_time_pass(UNTIL_IT_IS_DUE)
    assert complete_due_keys(10).counts["succeeded"] == 1
    return enrol()


finished_by = pytest.mark.parametrize("how", ["client", "completer"])


def assert_enrolled_once(answer, ledger):
    assert answer.status_code == 201, answer.content
    assert len(enrolments()) == len(ledger.payments) == 1
    assert read(COURSES.get()) == {"seats": SEATS - 1, "paid": 1}


# A name that is taken, by the operation itself.


def test_the_retry_of_a_finished_request_is_replayed_though_its_name_is_taken(enrol, ledger):
    first, again = enrol(), enrol()

    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.content == first.content
    assert_enrolled_once(again, ledger)


@finished_by
def test_a_request_whose_name_is_taken_meanwhile_goes_on(lose_answer, enrol, ledger, how):
    lose_answer()

    assert_enrolled_once(finish(how, enrol), ledger)


def test_two_that_ask_with_one_key_at_once_are_not_told_that_it_is_taken_by_themselves(
    enrol, ledger, monkeypatch
):
    clean, others = EnrolForm.clean_nickname, []

    def let_another_be_first(form):
        if not others:
            others.append(None)
            others.append(enrol())
        return clean(form)

    monkeypatch.setattr(EnrolForm, "clean_nickname", let_another_be_first)

    answer = enrol()

    assert answer.content == others[1].content
    assert_enrolled_once(answer, ledger)


def test_a_name_that_somebody_else_has_taken_is_refused_to_a_fresh_key(enrol):
    enrol()

    refused = enrol(key=str(uuid.uuid4()))

    assert (refused.status_code, refused.json()["error"]) == (422, "nickname: is taken.")


@pytest.mark.parametrize("decide", [run_again, lambda decision: adopt(decision, "payment-1"), undo])
def test_each_decision_of_a_reviewer_can_be_carried_out(lose_answer, stored, ledger, decide):
    lose_answer()
    IdempotencyKey.objects.update(needs_review_at="2026-01-01T00:00Z", locked_at=None)

    response = decide(decision_on(stored()))

    assert response.status in (201, 409)
    assert stored().is_finished


# A choice whose row has gone.


def test_a_finished_request_is_replayed_though_its_choice_is_gone(enrol):
    first = enrol()
    COURSES.delete()

    assert enrol().content == first.content


def test_an_instance_that_is_gone_is_named_and_the_key_waits_for_a_person(
    lose_answer, enrol, stored, course, ledger
):
    lose_answer()
    COURSES.all().delete()

    answer = enrol()

    assert (answer.status_code, answer.json()["code"]) == (503, "needs_review")
    assert stored().is_under_review
    assert "course: sessions.session course-reef" in stored().last_error
    assert stored().journal[-1]["evidence"] == {
        "parameter": "course",
        "model": "sessions.session",
        "pk": "course-reef",
    }
    assert len(ledger.payments) == 1


def test_a_reviewer_can_still_ask_undo_and_close_what_is_about_a_row_that_is_gone(
    lose_answer, enrol, stored, ledger
):
    lose_answer()
    COURSES.all().delete()
    enrol()
    decision = decision_on(stored())

    assert ask_foreign_system(stored()) == "payment-1"
    assert undo(decision).status == 409
    assert stored().is_finished


def test_a_phase_that_does_not_look_at_what_is_gone_goes_on(enrol, stored):
    assert enrol(fails_in="confirm").status_code == 500
    COURSES.all().delete()

    assert enrol().status_code == 201


# What the form adds, and takes away.


@finished_by
def test_what_clean_adds_is_the_same_in_each_attempt(enrol, lose_answer, stored, how):
    lose_answer()
    asked_at = operation_for(stored()).params["asked_at"]

    finish(how, enrol)

    assert enrolments()[0]["asked_at"] == asked_at.isoformat()
    assert operation_for(stored()).params["asked_at"] == asked_at
    assert enrolments()[0]["ends_at"] == "2026-10-24T14:00:00.123456+02:00"


# Times, dates and amounts.


def test_the_two_hours_of_the_night_when_the_clocks_go_back_are_two_requests(enrol, ledger):
    first = enrol(begins_at="2026-10-25T02:30+02:00")

    other = enrol(begins_at="2026-10-25T02:30+01:00")

    assert first.status_code == 201
    assert (other.status_code, other.json()["code"]) == (409, "parameters_mismatch")


@finished_by
@pytest.mark.parametrize("offset", ["+02:00", "+01:00"])
def test_an_ambiguous_hour_that_was_sent_with_its_offset_goes_on(
    lose_answer, customer, key, course, ledger, how, offset
):
    lose_answer(begins_at=f"2026-10-25T02:30{offset}")

    def again():
        body = urlencode(asked_for(course, begins_at=f"2026-10-25T02:30{offset}"))
        return customer.post(body, key, to="/enrolments", content_type=FORM)

    assert_enrolled_once(finish(how, again), ledger)
    begins_at = datetime.fromisoformat(enrolments()[0]["begins_at"])
    assert begins_at == datetime.fromisoformat(f"2026-10-25T02:30{offset}")


@finished_by
def test_a_time_of_the_users_zone_is_that_time_in_each_attempt(enrol, stored, how):
    """Without the ride's first phase: what counts is what a later attempt reads."""
    enrol(fails_in="pay")
    begins_at = operation_for(stored()).params["begins_at"]

    finish(how, enrol)

    assert begins_at == datetime(2026, 10, 24, 10, 0, 0, 123456, tzinfo=UTC)
    assert begins_at.utcoffset() == timedelta(hours=2)
    assert operation_for(stored()).params["begins_at"] == begins_at


def test_two_times_of_one_millisecond_are_two_requests(enrol):
    enrol(begins_at="2026-10-24T12:00:00.123456")

    other = enrol(begins_at="2026-10-24T12:00:00.123457")

    assert other.json()["code"] == "parameters_mismatch"


@finished_by
def test_a_date_in_the_users_language_goes_on(lose_answer, enrol, stored, ledger, how):
    lose_answer()

    assert_enrolled_once(finish(how, enrol), ledger)
    assert operation_for(stored()).params["born_on"] == date(1990, 1, 31)


@finished_by
def test_an_amount_in_the_users_language_is_charged_as_it_was_asked(enrol, ledger, how):
    ledger.faults = [Fault.ERROR_BEFORE]
    enrol()

    finish(how, enrol)

    assert [payment["amount_cents"] for payment in ledger.payments] == [123450]
    assert enrolments()[0]["fee"] == "1234.50"


# Several choices.


def test_a_chosen_row_that_is_written_anew_changes_nothing(customer, key, course, ledger, stored):
    groups = [Group.objects.create(name=name) for name in ("mask", "fins", "tank")]
    gear = [group.pk for group in groups]
    body = asked_for(course, gear=gear, born_on="1990-01-31", fee=1234.5)
    ledger.faults = [Fault.RESET_AFTER]
    customer.post(body, key, to="/enrolments")
    before = operation_for(stored()).params["gear"]
    Group.objects.filter(pk=groups[0].pk).update(name="snorkel")

    answer = customer.post(body, key, to="/enrolments")

    assert_enrolled_once(answer, ledger)
    assert operation_for(stored()).params["gear"] == before


# A deploy in between.


class EnrolFormOfTheNextVersion(EnrolForm):
    insured = forms.BooleanField(required=False)
    remark = forms.CharField(required=False)
    guests = forms.MultipleChoiceField(choices=[("a", "A")], required=False)
    size = forms.TypedChoiceField(choices=[("1", "S")], coerce=int, empty_value=None)
    licence = forms.IntegerField()


@finished_by
def test_a_deploy_that_adds_fields_lets_what_is_in_flight_go_on(
    lose_answer, enrol, stored, ledger, monkeypatch, how
):
    lose_answer()
    monkeypatch.setattr(Enrol, "params_form", EnrolFormOfTheNextVersion)

    assert_enrolled_once(finish(how, enrol), ledger)

    params = operation_for(stored()).params
    new = {name: params[name] for name in ("insured", "remark", "guests", "size", "licence")}
    assert new == {"insured": False, "remark": "", "guests": (), "size": None, "licence": None}


@finished_by
def test_a_deploy_whose_form_accepts_nothing_lets_what_is_in_flight_go_on(
    lose_answer, enrol, ledger, monkeypatch, how
):
    class NothingIsAccepted(EnrolForm):
        def clean(self):
            raise forms.ValidationError("The school is closed.")

    lose_answer()
    monkeypatch.setattr(Enrol, "params_form", NothingIsAccepted)

    assert_enrolled_once(finish(how, enrol), ledger)


# Values that cannot be changed.


class ConfirmedForm(forms.Form):
    document = forms.JSONField()
    confirmed = forms.BooleanField()

    def clean(self):
        del self.cleaned_data["confirmed"]


class Greedy(Operation):
    """Its phase does to the parameters what the test wants it to."""

    params_form = ConfirmedForm
    does = staticmethod(lambda params: None)

    @atomic_phase(STARTED)
    def take(self):
        type(self).does(self.params)
        return Response(201, {"names": list(self.params), "document": self.params["document"]})


@pytest.fixture
def greedy(settings, customer, key):
    from django.urls import path

    settings.ROOT_URLCONF = (path("greedy", Greedy.as_view()),)
    body = {"document": {"b": [1], "a": 2}, "confirmed": True}
    return lambda: customer.post(body, key, to="/greedy")


@pytest.mark.parametrize(
    "does",
    [
        lambda params: params.pop("document"),
        lambda params: params.update(document=1),
        lambda params: params.__setitem__("document", 1),
        lambda params: params["document"].pop("a"),
        lambda params: params["document"]["b"].append(2),
        lambda params: params["document"].update(c=3),
    ],
)
def test_a_phase_cannot_change_what_was_asked(greedy, stored, monkeypatch, does):
    monkeypatch.setattr(Greedy, "does", staticmethod(does))
    assert greedy().status_code == 500
    assert "Error at" in stored().last_error
    monkeypatch.undo()

    assert greedy().json()["document"] == {"a": 2, "b": [1]}


def test_a_field_that_clean_takes_out_stays_out(greedy, monkeypatch, stored):
    monkeypatch.setattr(Greedy, "does", staticmethod(lambda params: 1 / 0))
    greedy()
    monkeypatch.undo()

    assert greedy().json()["names"] == ["document"]
    assert list(operation_for(stored()).params) == ["document"]


def test_a_phase_sees_an_instance_as_the_database_has_it(enrol, monkeypatch):
    """Not as the phase before it has left it in memory, which a later attempt could not see."""
    take_seat = Enrol.take_seat.method

    def change_in_memory_only(self):
        result = take_seat(self)
        self.params["course"].session_data = '{"seats": 0, "paid": 99}'
        return result

    monkeypatch.setattr(Enrol.take_seat, "method", change_in_memory_only)

    assert enrol().status_code == 201
    assert read(COURSES.get()) == {"seats": SEATS - 1, "paid": 1}


def test_a_value_that_cannot_be_kept_is_refused_at_the_first_request(
    enrol, ledger, monkeypatch, caplog
):
    class AddsAnObject(EnrolForm):
        def clean(self):
            super().clean()
            self.cleaned_data["form"] = object()

    monkeypatch.setattr(Enrol, "params_form", AddsAnObject)

    assert enrol().status_code == 500
    assert "'form' is a builtins.object" in caplog.text
    assert not IdempotencyKey.objects.exists()


# Transient fields.


@pytest.mark.parametrize("body", [{"fails_in": 7}, {"fails_in": "a name that is far too long"}])
def test_a_transient_field_of_a_retry_is_cleaned_by_its_own_field(
    customer, key, course, enrol, stored, body
):
    enrol(fails_in="confirm")

    answer = customer.post(asked_for(course, **body), key, to="/enrolments")

    assert (answer.status_code, answer.json()["code"]) == (422, "parameters_invalid")
    assert answer.json()["error"].startswith("fails_in: ")
    assert stored().attempt == 1


def test_a_transient_field_that_is_wrong_keeps_nobody_from_a_replay(customer, key, course, enrol):
    first = enrol()

    answer = customer.post(asked_for(course, fails_in=7), key, to="/enrolments")

    assert answer.content == first.content


# By its name.


def test_an_operation_that_is_mounted_twice_is_one(enrol, stored, ledger):
    first = enrol()

    again = enrol(to="/v2/enrolments")

    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.content == first.content
    assert stored().operation == "idempotency.Enrol"


@finished_by
def test_a_path_that_moves_parks_nothing(lose_answer, enrol, settings, ledger, how):
    from django.urls import path

    lose_answer()
    settings.ROOT_URLCONF = (path("v3/enrolments", Enrol.as_view()),)

    answer = finish(how, lambda: enrol(to="/v3/enrolments"))

    assert_enrolled_once(answer, ledger)


def test_an_argument_of_the_url_is_kept_and_compared(customer, key, stored, settings):
    settings.ROOT_URLCONF = "idempotency.tests.echoes"
    first = customer.post({}, key, to="/shelves/novels")

    other = customer.post({}, key, to="/shelves/poems")
    settings.ROOT_URLCONF = ()

    assert first.json() == {"shelf": "novels"}
    assert (other.status_code, other.json()["code"]) == (409, "parameters_mismatch")
    assert dict(operation_for(stored()).path_kwargs) == {"shelf": "novels"}


def test_another_operation_with_the_same_fields_is_a_mismatch(customer, key, ledger):
    customer.send(key)

    answer = customer.send(key, to="/serializable/orders")

    assert (answer.status_code, answer.json()["code"]) == (409, "parameters_mismatch")
    assert len(orders()) == 1


def test_a_key_of_the_version_before_names_is_refused_and_parked(customer, key, stored, ledger):
    """The empty name is what the migration leaves where it could not tell."""
    customer.send(key, fails_in="pay")
    IdempotencyKey.objects.update(operation="")
    let_time_pass(UNTIL_IT_IS_DUE)

    assert complete_due_keys(10).counts["failed"] == 1
    assert "named ''" in stored().last_error
    assert customer.send(key).json()["code"] == "parameters_mismatch"
    IdempotencyKey.objects.update(needs_review_at="2026-01-01T00:00Z")
    answer = Response.error(410, "Ask again.", code="closed")
    close(decision_on(stored()), answer)
    assert stored().is_finished


# What people see.


def test_a_person_is_shown_what_was_asked_without_its_types(enrol, stored):
    from idempotency.parameters import readable_parameters

    enrol()

    shown = readable_parameters(stored().request_params)

    assert shown["course"] == "sessions.session course-reef"
    assert shown["begins_at"] == "2026-10-24T12:00:00.123456+02:00"
    assert Decimal(shown["fee"]) == Decimal("1234.50")
    assert json.dumps(shown)
