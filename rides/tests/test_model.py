"""Any order of things that can happen, against a model of a few lines: what a client was told once
stays so, and in the end all is at rest and reconciled.

Hypothesis draws the stories, over a real PostgreSQL and the real stand-in, and shortens one that
goes wrong until it can be read. `STEPS=100000` is the long form.
"""

import os
import signal
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

import pytest
from django.db import connection
from hypothesis import HealthCheck, Phase, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from idempotency import conf, jobs, reaping
from idempotency.completing import complete_due_keys
from idempotency.queue import run_queued_jobs
from idempotency.testing import INVARIANTS, Answer, Experiment, Fault, Trial
from idempotency.testing.activity import end_idle_transactions
from idempotency.testing.boundaries import Watch
from idempotency.testing.clock import let_deliveries_age, let_key_age, until_anybody_may_take_over
from idempotency.testing.faults import STRIKES, Aborted
from idempotency.testing.histories import recorded_histories
from idempotency.testing.processes import Forked, fork
from idempotency.testing.trials import forget_connections
from rides import operations, payments
from rides.models import User
from rides.operations import RESEND_WINDOW, CreateRide
from rides.tests.booking import CHARGING
from rides.tests.invariants import DEFINITE, OF_A_KEY, OF_ALL_OF_THEM
from rides.tests.seeded_bugs import BUGS
from rides.tests.trials import MOST_JOBS, MOST_KEYS, booking_of, deliver_everything
from sandbox.stripe.control import StandIn

STEPS = int(os.environ.get("STEPS", "300"))
STEPS_OF_A_STORY = 30
MOST_ROUNDS = 8  # in which all must come to rest

SOON_CAUGHT = ("final_on_timeout", "resend_past_the_window", "new_foreign_key_for_each_attempt")

GOOD, BAD = "good card", "bad card"
SOURCES = {GOOD: "tok_visa", BAD: "tok_chargeCustomerFail"}
STRIPE_FORGETS = timedelta(hours=24)
EXPIRED = 410

EMPTY_EVERYTHING = """
TRUNCATE idempotency_idempotencykey, idempotency_stagedjob, idempotency_jobdelivery,
         idempotency_testing_history, rides_ride, rides_auditrecord,
         django_tasks_database_dbtaskresult CASCADE
"""

weathers = st.sampled_from(
    [
        *(None, None, None, "reset_before", "reset_after", "conflict", "rate_limit"),
        *("error_before", "error_after", "malformed_json", "decline"),
    ]
)
faults = st.sampled_from([Fault.RAISE, Fault.DISCONNECT, Fault.ABORT, Fault.KILL, Fault.FREEZE])
cards = st.sampled_from([GOOD, GOOD, GOOD, BAD])
boundaries = st.integers(1, 27)
troubles = st.one_of(st.none(), st.tuples(faults, boundaries))
times = st.sampled_from(
    [
        *(timedelta(seconds=1), timedelta(seconds=91), timedelta(seconds=301)),
        *(RESEND_WINDOW, STRIPE_FORGETS, timedelta(hours=72)),
    ]
)


@dataclass
class Known:
    """The model of one key: what its client has been told, and for how long it has been there."""

    experiment: Experiment
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    final: Answer | None = None
    answers: list[Answer] = field(default_factory=list)
    age: timedelta = timedelta(0)

    def __repr__(self) -> str:
        return self.key[:8]

    def hear(self, answer: Answer | None, *, was_disturbed: bool) -> None:
        if answer is None:
            return
        if answer.status == EXPIRED:
            assert self.age >= conf.current().retention, "expired before its time"
            return
        self.answers.append(answer)
        if not answer.is_final:
            assert was_disturbed or not self.final, f"{self.final} taken back by {answer}"
        elif self.final is None:
            assert answer.status in DEFINITE, answer
            self.final = answer
        else:
            assert (answer.status, answer.body) == (self.final.status, self.final.body)


class Service(RuleBasedStateMachine):
    """What clients, processes, Stripe and the clock can do, in any order."""

    riders: ClassVar[dict[str, User]]
    stand_in: ClassVar[StandIn]

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.known: list[Known] = []
        self.frozen: list[tuple[Forked, Known | None]] = []
        self.is_new_version = False
        with connection.cursor() as cursor:
            cursor.execute(EMPTY_EVERYTHING)
        self.stand_in.reset()
        for card, rider in self.riders.items():
            customer = payments.create_customer(email=rider.email, source=SOURCES[card])
            User.objects.filter(pk=rider.pk).update(stripe_customer_id=customer)

    # Clients.

    @rule(target=keys, card=cards, weather=weathers)
    def a_client_books(self, card: str, weather: Any) -> Known:
        return self.book(card, weather, None)

    @rule(target=keys, card=cards, fault=faults, number=boundaries)
    def a_client_books_and_it_goes_wrong(self, card: str, fault: Fault, number: int) -> Known:
        return self.book(card, None, (fault, number))

    def book(self, card: str, weather: Any, trouble: Any) -> Known:
        self.known.append(Known(booking_of(self.riders[card], self.stand_in)))
        self.a_client_sends_again(self.known[-1], weather, trouble)
        return self.known[-1]

    @rule(known=keys, weather=weathers, trouble=troubles)
    def a_client_sends_again(self, known: Known, weather: Any, trouble: Any) -> None:
        answer = self.act(partial(known.experiment.ask, known.key), weather, trouble, known)
        known.hear(answer, was_disturbed=bool(weather or trouble))

    # The service's processes.

    @rule(weather=weathers, trouble=troubles)
    def the_completer_runs(self, weather: Any, trouble: Any) -> None:
        self.act(lambda: complete_due_keys(MOST_KEYS) and None, weather, trouble)

    @rule(trouble=troubles)
    def the_enqueuer_runs(self, trouble: Any) -> None:
        self.act(lambda: jobs.drain_staged_jobs(MOST_JOBS) and None, None, trouble)
        self.act(lambda: jobs.redeliver_overdue_jobs(MOST_JOBS) and None, None, trouble)

    @rule(trouble=troubles)
    def the_worker_runs(self, trouble: Any) -> None:
        self.act(lambda: run_queued_jobs(MOST_JOBS) and None, None, trouble)

    @rule(trouble=troubles)
    def the_reaper_runs(self, trouble: Any) -> None:
        self.act(lambda: reaping.reap(MOST_KEYS) and None, None, trouble)

    @precondition(lambda self: self.frozen)
    @rule()
    def the_frozen_wake(self) -> None:
        for child, known in self.frozen:
            child.thaw()
            child.wait()
            if known:
                known.hear(child.result(), was_disturbed=True)
        self.frozen.clear()

    @rule()
    def another_version_is_deployed(self) -> None:
        """The new one has renamed a point; the old one does not know the new name."""
        self.is_new_version = not self.is_new_version
        deploy(is_new=self.is_new_version)

    # The clock.

    @rule(by=times)
    def time_passes(self, by: timedelta) -> None:
        # The row of a key that old may be gone, and with it all that is promised of it.
        assume(all(k.age + by < conf.current().tombstone_retention for k in self.known))
        if by >= RESEND_WINDOW:
            # Nobody sleeps for a day between the look at their clock and the sending: a condition.
            self.the_frozen_wake()
        let_deliveries_age(by)
        for known in self.known:
            let_key_age(known.key, by)
            known.age += by
        if by >= STRIPE_FORGETS:
            self.stand_in.prune_keys()

    # How they do it.

    def act(
        self,
        work: Callable[[], Answer | None],
        weather: str | None,
        trouble: tuple[Fault, int] | None,
        known: Known | None = None,
    ) -> Answer | None:
        if weather:
            self.stand_in.add_fault(weather, times=1, path=CHARGING)
        try:
            return self.disturbed(work, *trouble, known) if trouble else work()
        finally:
            self.stand_in.clear_faults()

    def disturbed(
        self, work: Callable[[], Answer | None], fault: Fault, number: int, known: Known | None
    ) -> Answer | None:
        watch = Watch(
            is_target=lambda b: b.number >= number and fault.can_strike(b), strike=STRIKES[fault]
        )

        def watched() -> Answer | None:
            with watch.on(CreateRide):
                return work()

        if fault.needs_process:
            return self.in_a_process(watched, known)
        try:
            return watched()
        except (Exception, Aborted):
            return None
        finally:
            forget_connections()

    def in_a_process(self, work: Callable[[], Any], known: Known | None) -> Answer | None:
        child = fork(work, after_fork=payments._connected_client.cache_clear)
        status = child.wait()
        if not os.WIFSTOPPED(status):
            return child.result()
        end_idle_transactions()
        self.frozen.append((child, known))
        return None

    # The end of the story.

    def teardown(self) -> None:
        try:
            self.the_frozen_wake()
            deploy(is_new=True)
            self.bring_to_rest()
            self.check()
        finally:
            deploy(is_new=False)
            for child, _ in self.frozen:
                os.kill(child.pid, signal.SIGKILL)

    def bring_to_rest(self) -> None:
        waits = [until_anybody_may_take_over()] * MOST_ROUNDS
        for wait in (*waits, RESEND_WINDOW):  # after which even a saved error of Stripe's is past
            for known in self.known:
                let_key_age(known.key, wait)
            complete_due_keys(MOST_KEYS)
            deliver_everything()
        for known in self.known:
            known.hear(known.experiment.ask(known.key), was_disturbed=False)
        deliver_everything()

    def check(self) -> None:
        at_rest = object()
        for known in self.known:
            trial = Trial(
                experiment=known.experiment,
                idempotency_key=known.key,
                answers=known.answers,
                at_rest=at_rest,
            )
            for invariant in (*INVARIANTS, *OF_A_KEY, *OF_ALL_OF_THEM):
                if known.answers:
                    invariant(trial)


def deploy(*, is_new: bool) -> None:
    """The one version calls a point `charge_created`; the next `paid`, and knows the old name."""
    old, new = "charge_created", "paid"
    operations.CHARGE_CREATED = new if is_new else old
    CreateRide.send_receipt.recovery_point = new if is_new else old
    CreateRide.send_receipt.renamed_from = (old,) if is_new else ()
    CreateRide.phases.cache_clear()
    CreateRide.phase_at.cache_clear()


pytestmark = [pytest.mark.timeout(36_000), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def tell_stories(
    stand_in, rider, rider_with_bad_card, monkeypatch
) -> Iterator[Callable[..., None]]:
    payments._connected_client.cache_clear()
    monkeypatch.setattr(payments, "RETRIES", 0)
    Service.riders = {GOOD: rider, BAD: rider_with_bad_card}
    Service.stand_in = stand_in

    def tell(phases: Iterable[Phase] = tuple(Phase)) -> None:
        run_state_machine_as_test(
            Service,
            settings=settings(
                max_examples=STEPS // STEPS_OF_A_STORY,
                stateful_step_count=STEPS_OF_A_STORY,
                derandomize="STEPS" not in os.environ,
                deadline=None,
                database=None,
                phases=tuple(phases),
                suppress_health_check=list(HealthCheck),
            ),
        )

    with recorded_histories():
        yield tell
    payments._connected_client.cache_clear()


def test_any_order_of_things_keeps_the_promises(tell_stories):
    tell_stories()


@pytest.mark.parametrize("name", SOON_CAUGHT)
def test_a_story_comes_to_a_planted_bug(name: str, tell_stories):
    with ExitStack() as bed:
        next(bug for bug in BUGS if bug.name == name).plant(bed)
        with pytest.raises((AssertionError, ExceptionGroup)):
            tell_stories(phases=[Phase.generate])
