"""A diving school: an operation that is nothing like a ride, and a form that does what forms do.

Dates and amounts in the user's language and time zone, choices from the database, a name that the
operation itself takes, a value that `clean()` adds, a row that several phases change, a hook. So
that the tests add no model, courses and enrolments are rows of Django's session table.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from unittest.mock import patch

from django import forms
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.db import transaction
from django.test import override_settings
from django.urls import path
from django.utils import timezone, translation

from idempotency import (
    STARTED,
    Operation,
    RecoveryPoint,
    Response,
    atomic_phase,
    foreign_phase,
    stage_job,
)
from idempotency.tests import bookshop, ledger
from idempotency.tests.bookshop import WINDOW, audit, send_confirmation

ENROLLED = "enrolled"
PAID = "paid"
SEATS = 10
A_WHILE = timedelta(seconds=10)
PRIORITY = 20
TIMES = ("begins_at", "ends_at", "asked_at", "born_on")
COURSES = Session.objects.filter(session_key__startswith="course-")
ENROLMENTS = Session.objects.exclude(session_key__startswith="course-")


class EnrolForm(forms.Form):
    """What it says depends on the database, the language, the time zone and the clock."""

    course = forms.ModelChoiceField(COURSES)
    gear = forms.ModelMultipleChoiceField(Group.objects.all(), required=False)
    nickname = forms.CharField()
    begins_at = forms.DateTimeField()
    born_on = forms.DateField(localize=True)
    fee = forms.DecimalField(localize=True)
    fails_in = forms.CharField(required=False, max_length=20)

    def clean_nickname(self) -> str:
        nickname: str = self.cleaned_data["nickname"]
        if any(each["nickname"] == nickname for each in enrolments()):
            raise ValidationError("is taken.")
        return nickname

    def clean(self) -> None:
        if "begins_at" in self.cleaned_data:
            self.cleaned_data["ends_at"] = self.cleaned_data["begins_at"] + timedelta(hours=2)
            self.cleaned_data["asked_at"] = timezone.now()


class EnrolFormOfTheNextVersion(EnrolForm):
    """With a field that is new, and that nobody has to fill in."""

    diet = forms.CharField(required=False)


class Enrol(Operation):
    """Take a seat of a course and pay for it."""

    params_form = EnrolForm
    transient_fields = ("fails_in",)

    @atomic_phase(STARTED)
    def take_seat(self) -> RecoveryPoint:
        course = self.params["course"]
        write(course, seats=read(course)["seats"] - 1)
        enrolment = Session(session_key=self.key.foreign_key.hex, expire_date=timezone.now())
        gear = [group.name for group in self.params["gear"]]
        write(enrolment, course=course.pk, gear=gear, **self.asked())
        audit("enrolled", self.user.pk)
        transaction.on_commit(partial(audit, seat_taken(enrolment), self.user.pk))
        return RecoveryPoint(ENROLLED)

    @foreign_phase(ENROLLED, window=WINDOW, worst_case=timedelta(seconds=ledger.PATIENCE_SECONDS))
    def pay(self) -> str:
        payment = ledger.pay(cents(self.params["fee"]), key=self.foreign_key)
        self.fail_where_asked("pay")
        return payment

    @pay.lookup
    def find_payment(self) -> str | None:
        return ledger.find_payment(key=self.foreign_key)

    @pay.adopt
    def adopt_payment(self, reference: str) -> str:
        return reference

    @pay.undo
    def give_back(self) -> str | None:
        return ledger.find_payment(key=self.foreign_key)

    @pay.rejected(ledger.Declined)
    def payment_declined(self, error: ledger.Declined) -> Response:
        audit("declined", self.user.pk)
        return Response.error(402, str(error), code="payment_declined")

    @pay.commit
    def record_payment(self, payment: str) -> RecoveryPoint:
        course = self.params["course"]
        write(course, paid=read(course)["paid"] + 1)
        enrolment = Session.objects.get(pk=self.key.foreign_key.hex)
        write(enrolment, payment=payment, paid_for=self.asked())
        return RecoveryPoint(PAID)

    @atomic_phase(PAID)
    def confirm(self) -> Response:
        self.fail_where_asked("confirm")
        later = send_confirmation.using(run_after=timezone.now() + A_WHILE, priority=PRIORITY)
        stage_job(later, title=self.params["nickname"], user_id=self.user.pk)
        return Response(201, {"ends_at": self.params["ends_at"], "fee": self.params["fee"]})

    def cancelled(self, account: Any) -> Response:
        audit("cancelled", self.user.pk)
        return super().cancelled(account)

    def asked(self) -> dict[str, str]:
        """What the phase in hand has been asked for."""
        return {
            **{name: str(self.params[name]) for name in ("nickname", "fee")},
            **{name: self.params[name].isoformat() for name in TIMES},
            "diet": self.params.get("diet", ""),
        }

    def fail_where_asked(self, phase: str) -> None:
        if self.transient.get("fails_in") == phase:
            raise bookshop.Mishap(f"in {phase}")


def seat_taken(enrolment: Session) -> str:
    """What the hook says: that of a commit, so once at most, and never of a roll-back."""
    return f"a seat is taken: {enrolment.pk}"


def cents(amount: Decimal) -> int:
    return int(amount * 100)


# What is kept in the rows.


def read(row: Session) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(row.session_data)
    return content


def write(row: Session, **changes: Any) -> None:
    row.session_data = json.dumps({**(read(row) if row.session_data else {}), **changes})
    row.save()


def new_course(name: str = "reef") -> Session:
    return Session.objects.create(
        session_key=f"course-{name}",
        session_data=json.dumps({"seats": SEATS, "paid": 0}),
        expire_date=timezone.now(),
    )


def enrolments() -> list[dict[str, Any]]:
    return [read(row) for row in ENROLMENTS.order_by("expire_date")]


def asked_for(course: Session, **changes: Any) -> dict[str, Any]:
    """The fields of a request, as a Dutch user writes them."""
    return {
        "course": course.pk,
        "nickname": "Nemo",
        "begins_at": "2026-10-24T12:00:00.123456",
        "born_on": "31-01-1990",
        "fee": "1234,50",
        **changes,
    }


@contextmanager
def user_in(language: str, time_zone: str) -> Iterator[None]:
    """What a middleware does for one user's request, and nothing does for the completer."""
    with (
        override_settings(USE_I18N=True),
        patch.object(translation, "_trans", type(translation._trans)()),  # read before
        translation.override(language),
        timezone.override(time_zone),
    ):
        yield


user_in_the_netherlands = partial(user_in, "nl", "Europe/Amsterdam")


urlpatterns = [
    *bookshop.urlpatterns,
    path("enrolments", Enrol.as_view()),
    path("v2/enrolments", Enrol.as_view()),
]
