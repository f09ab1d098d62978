"""A roll-back takes back memory too: a phase that runs again starts from what is in the database.

An account is a row that the phases read, change in memory and save, as an author's models are. So
that the tests add no model, it is a row of Django's session table.
"""

from datetime import timedelta
from functools import cached_property
from typing import ClassVar

import pytest
from django import forms
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.db import connection
from django.urls import path
from django.utils import timezone

from idempotency import STARTED, Operation, RecoveryPoint, Response, atomic_phase, foreign_phase
from idempotency.support.afresh import as_it_was
from idempotency.testing.clock import let_key_age, until_anybody_may_take_over
from idempotency.tests import bookshop
from idempotency.workers.completing import complete_due_keys

pytestmark = pytest.mark.django_db(transaction=True)

CONFLICTS = {"deadlock": "40P01", "serialization failure": "40001"}


def raise_conflict(code):
    with connection.cursor() as cursor:
        cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$")


def raise_mishap():
    raise bookshop.Mishap("after the last line")


class Withdrawal(forms.Form):
    account = forms.ModelChoiceField(Session.objects.all())
    groups = forms.ModelMultipleChoiceField(Group.objects.all(), required=False)
    purse = forms.ModelChoiceField(Session.objects.all(), required=False)


class Withdraw(Operation):
    """Takes ten in the commit of a foreign phase, in an object that was there before."""

    params_form = Withdrawal
    transient_fields = ("purse",)
    answered = {"lines": ["ten"]}

    trouble: ClassVar[dict[str, list]] = {}
    """By the name of the phase, what happens after its last line, once for each."""
    seen: ClassVar[list] = []

    @cached_property
    def account(self):
        return Session.objects.get(pk="account")

    @foreign_phase(STARTED, window=timedelta(hours=1), loads=["account"])
    def ask(self):
        return {"lines": ["ten"]}

    @ask.commit
    def take(self, answer):
        for account in self.held():
            account.session_data = str(int(account.session_data) - 10)
        self.user.email = f"changed-{self.user.email}"
        self.key.request_path += "/changed"
        self.account.save()
        self.seen.append([*answer["lines"], self.user.email, self.key.request_path, self.params])
        answer["lines"].append("changed")
        self.left_behind = "by the run that was rolled back"
        self.end("take")
        return RecoveryPoint("taken")

    @atomic_phase("taken")
    def tell(self):
        self.end("tell")
        return Response(201, {"balance": int(self.account.session_data)})

    def held(self):
        """Every instance of the row that an operation can have in memory."""
        purse = self.transient.get("purse")
        return [self.account, self.params["account"], *([purse] if purse else [])]

    def end(self, phase):
        happens = self.trouble.get(phase)
        if happens:
            happens.pop(0)()


class WithdrawFromParameter(Withdraw):
    """The same with the instance among the parameters."""

    @cached_property
    def account(self):
        return self.params["account"]

    def held(self):
        return [self.params["account"]]


class WithdrawFromTransient(Withdraw):
    """The same with the instance among the transient fields."""

    @cached_property
    def account(self):
        return self.transient["purse"]

    def held(self):
        return [self.transient["purse"]]


class WithdrawLocally(Withdraw):
    """The same in an atomic phase, which is run in the claim's own transaction."""

    @atomic_phase(STARTED)
    def ask(self):
        return self.take({"lines": ["ten"]})


KINDS = [Withdraw, WithdrawFromParameter, WithdrawFromTransient, WithdrawLocally]

urlpatterns = [
    *bookshop.urlpatterns,
    *[path(f"{kind.__name__}", kind.as_view()) for kind in KINDS],
]


@pytest.fixture(autouse=True)
def account():
    Withdraw.seen.clear()
    yield Session.objects.create(
        session_key="account", session_data="100", expire_date=timezone.now()
    )
    Withdraw.trouble.clear()


@pytest.fixture
def withdraw(customer, key):
    def send(kind=Withdraw):
        fields = {"account": "account", "purse": "account"}
        return customer.post(fields, key, to=f"/{kind.__name__}")

    return send


def balance():
    return int(Session.objects.get(pk="account").session_data)


# What becomes of the account.


@pytest.mark.parametrize("kind", KINDS)
def test_ten_are_taken_once_when_the_next_phase_of_the_same_commit_fails(withdraw, kind):
    Withdraw.trouble["tell"] = [raise_mishap]

    assert withdraw(kind).status_code == 500
    assert balance() == 90
    assert withdraw(kind).json() == {"balance": 90}
    assert balance() == 90


@pytest.mark.parametrize("phase", ["take", "tell"])
@pytest.mark.parametrize("code", CONFLICTS.values(), ids=CONFLICTS)
@pytest.mark.parametrize("kind", KINDS)
def test_ten_are_taken_once_when_the_transaction_is_repeated(withdraw, kind, code, phase):
    Withdraw.trouble[phase] = [lambda: raise_conflict(code)]

    assert withdraw(kind).json() == {"balance": 90}
    assert balance() == 90


def test_ten_are_taken_once_by_a_completer_whose_transaction_is_repeated(withdraw, key):
    Withdraw.trouble["take"] = [raise_mishap, lambda: raise_conflict("40P01")]
    withdraw()
    let_key_age(key, until_anybody_may_take_over())

    assert bookshop.counted(complete_due_keys(10)) == (1, 0)
    assert balance() == 90


# What a phase finds when it runs again.


@pytest.mark.parametrize("kind", KINDS)
def test_each_run_of_a_phase_finds_the_same(withdraw, kind, customer):
    Withdraw.trouble["take"] = [lambda: raise_conflict("40P01")] * 2
    Withdraw.trouble["tell"] = [raise_mishap]

    withdraw(kind)

    first, *others = [run[:-1] for run in Withdraw.seen]
    assert first == ["ten", f"changed-{customer.user.email}", f"/{kind.__name__}/changed"]
    assert others == [first] * 3
    assert len({id(params) for *_, params in Withdraw.seen}) == 4


def test_what_a_rolled_back_phase_set_is_not_there_for_its_repetition(withdraw, monkeypatch):
    take, found = Withdraw.take, []

    def look_and_take(self, answer):
        found.append(getattr(self, "left_behind", None))
        return take(self, answer)

    monkeypatch.setattr(Withdraw, "take", look_and_take)
    Withdraw.trouble["take"] = [lambda: raise_conflict("40001")]

    assert withdraw().status_code == 201
    assert found == [None, None]


# What a foreign call answered.


def test_an_error_is_handed_out_with_its_attributes_as_they_were():
    class Refused(Exception):
        def __init__(self, code, message):
            super().__init__(message)
            self.reasons = [code]

    refused = as_it_was(Refused("do_not_honor", "no"))
    refused().reasons.append("changed")
    refused().args = ("changed",)

    assert refused().reasons == ["do_not_honor"]


def test_what_cannot_be_copied_is_handed_out_as_it_is():
    answered = (n for n in [1, 2])

    assert as_it_was(answered)() is answered
