"""What must hold of every enrolment once all is at rest, whatever was killed, lost or repeated.

For the crash harness, the model and chaos alike, as `proof.invariants` are for bookings.
"""

import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session

from idempotency.foreign_keys import phase_key
from idempotency.models import IdempotencyKey
from idempotency.testing import Trial
from idempotency.tests.ledger import Ledger
from idempotency.tests.school import (
    COURSES,
    ENROLMENTS,
    SEATS,
    Enrol,
    enrolments,
    read,
    seat_taken,
)

Invariant = Callable[[Trial], None]

A_MILLISECOND = timedelta(milliseconds=1)  # JSON answers are cut to them


def of_an_enrolment(ledger: Ledger) -> tuple[Invariant, ...]:
    """Those of each key, with the ledger that it is paid for at."""
    return (
        partial_of(an_enrolment_is_paid_for_once, ledger),
        partial_of(each_phase_is_asked_for_the_same, ledger),
        a_hook_runs_once_at_most,
    )


def of_all_enrolments(ledger: Ledger) -> tuple[Invariant, ...]:
    """Those of all of them together."""
    return (
        seats_and_payments_add_up,
        partial_of(the_ledger_is_that_of_the_enrolments, ledger),
        each_enrolment_is_confirmed_once,
    )


def an_enrolment_is_paid_for_once(ledger: Ledger, trial: Trial) -> None:
    """Where the diver was told so, and never twice; declined is what nobody paid for."""
    paid = [payment["id"] for payment in payments_of(ledger, foreign_key_of(trial))]
    assert len(paid) <= 1, f"paid {len(paid)} times"
    if status_of(trial) == 201:
        assert paid == [enrolment_of(trial)["payment"]], f"paid by {paid}"
    if status_of(trial) == 402:
        assert not paid, "declined, says the answer; the ledger took the money"


def each_phase_is_asked_for_the_same(ledger: Ledger, trial: Trial) -> None:
    """The one that took the seat, the payment, the one that recorded it, and the answer."""
    if status_of(trial) != 201:
        return
    done = enrolment_of(trial)
    assert done["paid_for"] == {name: done[name] for name in done["paid_for"]}, done
    [payment] = payments_of(ledger, foreign_key_of(trial))
    assert payment["amount_cents"] == round(float(done["fee"]) * 100), payment
    if trial.final_answer:
        said = json.loads(trial.final_answer.body)
        apart = datetime.fromisoformat(said["ends_at"]) - datetime.fromisoformat(done["ends_at"])
        assert abs(apart) < A_MILLISECOND, said
        assert said["fee"] == done["fee"], said


def a_hook_runs_once_at_most(trial: Trial) -> None:
    enrolment = Session(pk=foreign_key_of(trial).hex)
    said = LogEntry.objects.filter(object_repr=seat_taken(enrolment)).count()
    assert said <= ENROLMENTS.filter(pk=enrolment.pk).count(), f"ran {said} times"


def seats_and_payments_add_up(trial: Trial) -> None:
    """What a course has left is what it began with without those that were enrolled in it."""
    enrolled, paid = Counter[str](), Counter[str]()
    for enrolment in enrolments():
        enrolled[enrolment["course"]] += 1
        paid[enrolment["course"]] += "payment" in enrolment
    for course in COURSES.all():
        wanted = {"seats": SEATS - enrolled[course.pk], "paid": paid[course.pk]}
        assert read(course) == wanted, f"{course.pk}: {read(course)}, not {wanted}"


def the_ledger_is_that_of_the_enrolments(ledger: Ledger, trial: Trial) -> None:
    """The same payments on both sides, but for those that a person is to look at."""
    unknown = {
        str(phase_key(foreign_key, Enrol.pay))
        for foreign_key in IdempotencyKey.objects.filter(needs_review_at__isnull=False).values_list(
            "foreign_key", flat=True
        )
    }
    taken = {payment["id"] for payment in ledger.payments if payment["key"] not in unknown}
    named = {each["payment"] for each in enrolments() if "payment" in each}
    assert taken == named, f"on one side only: {taken ^ named}"


def each_enrolment_is_confirmed_once(trial: Trial) -> None:
    """By its job, in effect."""
    confirmed = LogEntry.objects.filter(object_repr="order.confirmed").count()
    finished = sum("payment" in each for each in enrolments())
    assert confirmed == finished, f"{confirmed} of {finished}"


# What they look at.


def partial_of(invariant: Callable[[Ledger, Trial], None], ledger: Ledger) -> Invariant:
    """Under its own name, which is what a report says."""
    bound: Any = partial(invariant, ledger)
    bound.__name__ = invariant.__name__
    return bound


def foreign_key_of(trial: Trial) -> UUID:
    assert trial.key is not None
    return trial.key.foreign_key


def enrolment_of(trial: Trial) -> dict[str, Any]:
    return read(ENROLMENTS.get(pk=foreign_key_of(trial).hex))


def payments_of(ledger: Ledger, foreign_key: UUID) -> list[dict[str, Any]]:
    sent = str(phase_key(foreign_key, Enrol.pay))
    return [payment for payment in ledger.payments if payment["key"] == sent]


def status_of(trial: Trial) -> int | None:
    """The outcome: as a client was told it, or as it is stored where no client has asked."""
    if trial.final_answer:
        return trial.final_answer.status
    return trial.key.response_code if trial.key else None
