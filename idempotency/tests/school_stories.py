"""The machine of the enrolments: what divers, the service's processes, a person, the ledger, a
deploy, the course's row and the clock can do, in any order.

It has no reference of its states, as that of the bookings has. After each step it compares what is
there with what was asked for, and at the end all is brought to rest and the invariants are checked.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db import connection
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, precondition, rule

from idempotency.models import IdempotencyKey
from idempotency.review.decisions import keys_under_review
from idempotency.testing import INVARIANTS, Answer, Experiment, Trial
from idempotency.testing.clock import let_time_pass
from idempotency.testing.machines import (
    MOST_JOBS,
    Story,
    decide_to_run_again,
    hand_jobs_over,
    jobs_are_owed,
    step,
)
from idempotency.testing.mishaps import CRASHES, Crash, Done, do_and_crash
from idempotency.testing.processes import Forked
from idempotency.testing.queue import run_queued_jobs
from idempotency.tests.conftest import Customer
from idempotency.tests.divers import AT_THE_SERVICE, BEGINS_AT, HOME, Diver, Place
from idempotency.tests.ledger import Fault, Ledger
from idempotency.tests.school import (
    COURSES,
    ENROLMENTS,
    Enrol,
    EnrolForm,
    EnrolFormOfTheNextVersion,
    asked_for,
    new_course,
    read,
    seat_taken,
)
from idempotency.tests.school_invariants import (
    a_hook_runs_once_at_most,
    an_enrolment_is_paid_for_once,
    of_all_enrolments,
    of_an_enrolment,
    payments_of,
    seats_and_payments_add_up,
)
from idempotency.workers.completing import complete_due_keys
from idempotency.workers.reaping import reap

FORM = "application/x-www-form-urlencoded"
MOST_KEYS = 100
MOST_DIVERS = 4
TIMES = {
    "two minutes": timedelta(minutes=2),
    "two hours": timedelta(hours=2),
    "21 hours": timedelta(hours=21),
    "25 hours": timedelta(hours=25),
    "73 hours": timedelta(hours=73),
    "31 days": timedelta(days=31),
}
LONG = timedelta(hours=20)
LEDGER_FORGETS = timedelta(hours=24)
UNTIL_ALL_IS_AT_REST = ("two hours", "two hours", "21 hours", "21 hours")

# Of few rows, which is quicker than to truncate.
EMPTY_EVERYTHING = """
DELETE FROM django_tasks_database_dbtaskresult;
DELETE FROM idempotency_stagedjob;
DELETE FROM idempotency_jobdelivery;
DELETE FROM idempotency_idempotencykey;
DELETE FROM idempotency_testing_history;
DELETE FROM django_session;
DELETE FROM django_admin_log;
"""


Mishap = Fault | Crash | None

places = st.builds(
    Place, st.sampled_from(["nl", "en"]), st.sampled_from([HOME.time_zone, "Asia/Tokyo"])
)
offsets = st.sampled_from(["", "+05:30"])
fees = st.sampled_from(["1234,50", "80.25"])
diets = st.sampled_from(["", "kelp"])
ways_to_crash = st.sampled_from(CRASHES)
mishaps = st.one_of(
    st.none(), st.sampled_from(Fault), st.builds(Crash, ways_to_crash, at=st.integers(1, 30))
)
accidents = st.none() | st.builds(Crash, ways_to_crash, at=st.integers(1, 12))


@dataclass(frozen=True)
class Frozen:
    """Somebody who stopped in the middle of something, and where that was."""

    process: Forked
    place: Place
    diver: Diver | None


def somebody_enrols(school: "School") -> bool:
    return bool(school.divers_known)


class School(Story):
    """What can happen."""

    customer: ClassVar[Customer]
    ledger: ClassVar[Ledger]

    divers = Bundle("divers")

    def __init__(self) -> None:
        super().__init__()
        self.divers_known: list[Diver] = []
        self.frozen: list[Frozen] = []
        self.deleted: list[Session] = []
        self.was_struck = self.has_news = False
        Enrol.params_form = EnrolForm
        with connection.cursor() as cursor:
            cursor.execute(EMPTY_EVERYTHING)
        self.ledger.forget_everything()
        for name in ("reef", "wreck"):
            new_course(name)

    # Clients.

    @precondition(lambda self: len(self.divers_known) < MOST_DIVERS)
    @rule(
        target=divers,
        course=st.sampled_from(["course-reef", "course-wreck"]),
        offset=offsets,
        fee=fees,
        diet=diets,
        place=places,
        mishap=mishaps,
    )
    @step
    def a_client_enrols(
        self, course: str, offset: str, fee: str, diet: str, place: Place, mishap: Mishap
    ) -> Diver:
        changes = {"begins_at": BEGINS_AT + offset, "fee": fee, "born_on": "1990-01-31"}
        if Enrol.params_form is EnrolFormOfTheNextVersion:
            changes["diet"] = diet
        nickname = f"Nemo the {len(self.divers_known) + 1}."
        diver = Diver(asked_for(Session(pk=course), nickname=nickname, **changes))
        self.divers_known.append(diver)
        self.ask(diver, place, mishap)
        return diver

    @rule(diver=divers, place=places, mishap=mishaps)
    @step
    def a_client_sends_again(self, diver: Diver, place: Place, mishap: Mishap) -> None:
        self.ask(diver, place, mishap)

    # The service's processes, and a person.

    @precondition(somebody_enrols)
    @rule(mishap=mishaps)
    @step
    def the_completer_runs(self, mishap: Mishap) -> None:
        self.act(lambda: complete_due_keys(MOST_KEYS), mishap)

    @precondition(somebody_enrols)
    @rule(mishap=accidents)
    @step
    def the_reaper_runs(self, mishap: Mishap) -> None:
        self.act(lambda: reap(MOST_KEYS), mishap)

    @precondition(somebody_enrols)
    @rule(mishap=accidents)
    @step
    def the_enqueuer_runs(self, mishap: Mishap) -> None:
        self.act(hand_jobs_over, mishap)

    @precondition(somebody_enrols)
    @rule(mishap=mishaps)
    @step
    def the_worker_runs(self, mishap: Mishap) -> None:
        self.act(lambda: run_queued_jobs(MOST_JOBS), mishap)

    @precondition(lambda self: any(d.row and d.row.is_under_review for d in self.divers_known))
    @rule(mishap=mishaps)
    @step
    def a_person_runs_one_again(self, mishap: Mishap) -> None:
        pk = keys_under_review().values_list("pk", flat=True)[0]
        self.act(lambda: decide_to_run_again(pk), mishap)

    @precondition(lambda self: self.frozen)
    @rule()
    @step
    def the_frozen_wake(self) -> None:
        while self.frozen:
            one = self.frozen.pop(0)
            one.process.thaw()
            one.process.wait()
            self.see(Done(one.process.result(), was_struck=True), one.place, one.diver)

    # What an attempt depends on changes.

    @precondition(lambda self: self.has_news)
    @rule()
    @step
    def another_version_is_deployed(self) -> None:
        """The new one's form has a field more."""
        self.has_news = False
        is_old = Enrol.params_form is EnrolForm
        Enrol.params_form = EnrolFormOfTheNextVersion if is_old else EnrolForm

    @precondition(lambda self: self.has_news and not self.deleted)
    @rule(course=st.sampled_from(["course-reef", "course-wreck"]))
    @step
    def a_course_is_deleted(self, course: str) -> None:
        self.has_news = False
        self.deleted = list(COURSES.filter(pk=course))
        COURSES.filter(pk=course).delete()

    @precondition(lambda self: self.deleted)
    @rule()
    @step
    def the_course_is_there_again(self) -> None:
        self.deleted.pop().save(force_insert=True)

    @precondition(somebody_enrols)
    @rule(by=st.sampled_from(list(TIMES)))
    @step
    def time_passes(self, by: str) -> None:
        if TIMES[by] >= LONG and self.frozen:
            # Nobody sleeps for a day between the look at their clock and the sending: a condition.
            self.the_frozen_wake()
        let_time_pass(TIMES[by])
        if TIMES[by] >= LEDGER_FORGETS:
            self.ledger.forget_keys()

    # How it is done, and what is looked at.

    def ask(self, diver: Diver, place: Place, mishap: Mishap) -> None:
        self.act(lambda: self.experiment(diver, place).ask(diver.key), mishap, place, diver)

    def experiment(self, diver: Diver, place: Place) -> Experiment:
        def send(key: str) -> Any:
            with place.entered():
                body = urlencode(diver.fields)
                return self.customer.post(body, key, to="/enrolments", content_type=FORM)

        return Experiment(operation=Enrol, send=send, invariants=())

    def act(
        self,
        work: Callable[[], Any],
        mishap: Mishap,
        place: Place = AT_THE_SERVICE,
        diver: Diver | None = None,
    ) -> None:
        self.has_news = True
        done = self.do(work, mishap)
        if done.was_struck or isinstance(mishap, Fault):
            fault = mishap.fault if isinstance(mishap, Crash) else mishap.name.lower()
            self.happened[f"mishap: {fault}"] += 1
        if done.frozen:
            self.frozen.append(Frozen(done.frozen, place, diver))
        self.see(done, place, diver)

    def do(self, work: Callable[[], Any], mishap: Mishap) -> Done:
        if isinstance(mishap, Crash):
            return do_and_crash(work, mishap, Enrol)
        self.ledger.faults = [mishap] if mishap else []
        try:
            return Done(work())
        finally:
            self.ledger.faults = []

    def see(self, done: Done, place: Place, diver: Diver | None) -> None:
        self.was_struck |= done.was_struck
        rows = {row.idempotency_key: row for row in IdempotencyKey.objects.defer("journal")}
        for each in self.divers_known:
            each.row = rows.get(each.key)
            if each.row and each.began_in is None:
                each.began_in, each.enrolment = place, each.row.foreign_key.hex
        if diver and done.answer:
            self.hear(diver, done.answer)
        self.check_what_is_there()

    def hear(self, diver: Diver, answer: Answer) -> None:
        told = json.loads(answer.body).get("code", "enrolled")
        self.happened[f"told: {told}"] += 1
        assert told != "parameters_mismatch", "the same request is taken for another one"
        assert told != "parameters_invalid" or not diver.row, "what was begun is refused"
        if told == "key_expired":
            diver.answers = [each for each in diver.answers if each.is_final]
        elif told != "parameters_invalid":  # which binds nobody: nothing is kept of it
            diver.answers.append(answer)

    def check_what_is_there(self) -> None:
        seats_and_payments_add_up(Trial(experiment=self.experiment(Diver({}), HOME)))
        done = {row.pk: read(row) for row in ENROLMENTS.all()}
        for diver in self.divers_known:
            if diver.enrolment in done:
                there, wanted = done[diver.enrolment], diver.wanted()
                assert {name: there[name] for name in wanted} == wanted, there
            if diver.row:
                a_hook_runs_once_at_most(self.trial(diver))
                an_enrolment_is_paid_for_once(self.ledger, self.trial(diver))

    def trial(self, diver: Diver) -> Trial:
        return Trial(
            experiment=self.experiment(diver, HOME),
            idempotency_key=diver.key,
            answers=diver.answers,
        )

    # The end of the story.

    def teardown(self) -> None:
        try:
            if not self.went_wrong:
                self.bring_to_rest()
                self.check_invariants_at_rest()
        finally:
            Enrol.params_form = EnrolForm
            for one in self.frozen:
                one.process.kill()

    def bring_to_rest(self) -> None:
        if self.frozen:
            self.the_frozen_wake()
        if self.deleted:
            self.the_course_is_there_again()
        for _ in keys_under_review():
            self.a_person_runs_one_again(mishap=None)
        for wait in UNTIL_ALL_IS_AT_REST:
            if all(diver.is_at_rest for diver in self.divers_known):
                break
            self.time_passes(by=wait)
            self.the_completer_runs(mishap=None)
        for diver in self.divers_known:
            self.ask(diver, HOME, None)
        while jobs_are_owed():
            self.time_passes(by="21 hours")
            self.the_enqueuer_runs(mishap=None)
            self.the_worker_runs(mishap=None)

    def check_invariants_at_rest(self) -> None:
        trials = [self.trial(d) for d in self.divers_known if d.answers and d.row]
        for trial, invariant in product(trials, (*INVARIANTS, *of_an_enrolment(self.ledger))):
            invariant(trial)
        for trial, invariant in product(trials[:1], of_all_enrolments(self.ledger)):
            invariant(trial)
        self.check_that_nobody_waits_who_has_paid()
        if not self.was_struck:
            self.check_that_every_hook_ran()

    def check_that_nobody_waits_who_has_paid(self) -> None:
        """With a person is only what the ledger, asked in good order, knows nothing of."""
        for row in keys_under_review():
            assert not payments_of(self.ledger, row.foreign_key), "paid, and left to a person"

    def check_that_every_hook_ran(self) -> None:
        """As it does where nobody dies before it: a ledger that fails is no reason."""
        for enrolment in ENROLMENTS.all():
            said = LogEntry.objects.filter(object_repr=seat_taken(enrolment)).count()
            assert said == 1, f"ran {said} times"
