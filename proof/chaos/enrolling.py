"""The second operation of a chaos run: the enrolments of the tests' diving school.

It is nothing like a ride: times, a choice from the database, a row that two phases change in
memory, a hook, a provider of its own. Courses are few, so that many change one row at once.
"""

from datetime import datetime

from django.db import connection

from idempotency.models import FINISHED, IdempotencyKey
from idempotency.testing import Trial
from idempotency.tests.ledger import Ledger
from idempotency.tests.school import Enrol, new_course
from idempotency.tests.school_invariants import (
    enrolment_of,
    of_all_enrolments,
    of_an_enrolment,
    status_of,
)
from proof.chaos.clients import Request
from proof.chaos.nemeses import LEDGER_FAULTS
from proof.chaos.outcome import Sighting
from proof.chaos.verdict import Promises

COURSES = ("reef", "wreck")
BEGINS_AT = "2026-10-24T12:00:00.123456+05:30"
ENDS_AT = "2026-10-24T14:00:00.123456+05:30"

# Finished in an attempt that was the completer's.
COUNT_COMPLETED = """
SELECT count(*)
  FROM idempotency_idempotencykey
 WHERE operation = %s
   AND recovery_point = %s
   AND journal @> jsonb_build_array(
         jsonb_build_object('event', 'taken_by_completer', 'attempt', attempt))
"""


def make_courses() -> None:
    for name in COURSES:
        new_course(name)


def an_enrolment(key: str) -> Request:
    """What a client asks for under a key."""
    fields = {
        "course": f"course-{COURSES[int(key[-1], 16) % len(COURSES)]}",
        "nickname": f"Nemo of {key}",
        "begins_at": BEGINS_AT,
        "born_on": "1990-01-31",
        "fee": "1234.50",
    }
    return Request("/enrolments", fields)


def promises(ledger: Ledger) -> Promises:
    return Promises(
        Enrol,
        (*of_an_enrolment(ledger), what_was_asked_is_what_was_done),
        of_all_enrolments(ledger),
    )


def what_was_asked_is_what_was_done(trial: Trial) -> None:
    if status_of(trial) != 201:
        return
    done = enrolment_of(trial)
    asked = an_enrolment(trial.idempotency_key).fields
    assert {name: done[name] for name in asked if name != "begins_at"} == {
        name: value for name, value in asked.items() if name != "begins_at"
    }, done
    for name, wanted in (("begins_at", BEGINS_AT), ("ends_at", ENDS_AT)):
        assert datetime.fromisoformat(done[name]) == datetime.fromisoformat(wanted), done


def sightings() -> list[Sighting]:
    finished = IdempotencyKey.objects.filter(operation=Enrol.name, recovery_point=FINISHED)
    with connection.cursor() as cursor:
        cursor.execute(COUNT_COMPLETED, [Enrol.name, FINISHED])
        [completed] = cursor.fetchone()
    return [
        Sighting("enrolments", finished.filter(response_code=201).count(), 10),
        Sighting("enrolments finished by the completer", completed, 1, LEDGER_FAULTS),
    ]
