"""The machine: what clients, processes, people, Stripe and the clock can do, in any order.

After each step what the client was told, every key's row and Stripe's ledger must be what the
reference allows; at the end all is brought to rest and the invariants are checked.
"""

from datetime import timedelta
from functools import partial

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, precondition, rule

from idempotency.review.decisions import keys_under_review
from idempotency.testing.machines import (
    decide_to_run_again,
    hand_jobs_over,
    jobs_are_owed,
    step,
)
from idempotency.testing.mishaps import CRASHES, Crash
from idempotency.testing.queue import run_queued_jobs
from idempotency.workers.completing import complete_due_keys
from idempotency.workers.reaping import reap
from proof.bookings import MOST_JOBS, MOST_KEYS
from proof.model.going_back import MoneyGoesBack
from proof.model.known import ANOTHER, THE_SAME, Known
from proof.model.mishaps import Mishap
from proof.model.reference import (
    asked_perhaps_early,
    completed,
    gone_on_with,
    put_before_a_person,
    reaped,
    reviewed,
    settled,
    stays,
    worked_on,
)
from proof.model.stage import CLOCKS, DATABASES, SOURCES, STRIPES, no_key_changes
from proof.model.states import (
    ASKING_CARD,
    BAD_CARD,
    GOOD_CARD,
    NEW_POINT,
    NOWHERE,
    OLD_POINT,
    UNDER_WAY,
    WEATHERS,
    Ledger,
)
from rides.operations import RESEND_WINDOW

MOST_KEYS_OF_A_STORY = 4

TIMES = {
    "two minutes": timedelta(minutes=2),
    "ten minutes": timedelta(minutes=10),
    "21 hours": timedelta(hours=21),
    "25 hours": timedelta(hours=25),
    "73 hours": timedelta(hours=73),
    "31 days": timedelta(days=31),
}
# Together less than the four hours by which Stripe's memory is longer than our window, and so odd
# that no lease of the past begins anew, which the reference could not tell from one of now.
WRONG_BY = {DATABASES: timedelta(minutes=50, seconds=12), STRIPES: timedelta(minutes=65)}
SIDES = {"right": 0, "ahead": 1, "behind": -1}
STRIPES_FROM_THE_BEGINNING = {
    "right": timedelta(0),
    "minutes ahead": timedelta(minutes=10),
    "minutes behind": timedelta(minutes=-10),
    "hours ahead": timedelta(hours=2),
    "hours behind": timedelta(hours=-2),
}
UNTIL_ALL_IS_AT_REST = ("ten minutes", "ten minutes", "21 hours", "21 hours")

cards = st.sampled_from([GOOD_CARD, GOOD_CARD, GOOD_CARD, ASKING_CARD, ASKING_CARD, BAD_CARD])
ways_to_crash = st.sampled_from(CRASHES)
mishaps = st.one_of(
    *(st.none(), st.sampled_from(WEATHERS), st.builds(Crash, ways_to_crash, at=st.integers(1, 27)))
)
accidents = st.none() | st.builds(Crash, ways_to_crash, at=st.integers(1, 12))
requests = st.sampled_from([THE_SAME, THE_SAME, ANOTHER])


def somebody_booked(service: "Service") -> bool:
    return bool(service.known)


class Service(MoneyGoesBack):
    """What can happen."""

    keys = Bundle("keys")

    # Clients.

    @precondition(lambda self: len(self.known) < MOST_KEYS_OF_A_STORY)
    @rule(target=keys, card=cards, mishap=mishaps)
    @step
    def a_client_books(self, card: str, mishap: Mishap) -> Known:
        known = Known(card, self.experiments[card])
        self.known.append(known)
        self.ask(known, THE_SAME, mishap)
        return known

    @rule(known=keys, request=requests, mishap=mishaps)
    @step
    def a_client_sends_again(self, known: Known, request: str, mishap: Mishap) -> None:
        self.ask(known, request, mishap)

    def ask(self, known: Known, request: str, mishap: Mishap) -> None:
        attempt = self.attempt(mishap)
        self.act(
            partial(known.experiments[request].ask, known.key),
            lambda one, state: (
                asked_perhaps_early(state, request, attempt) if one is known else [stays(state)]
            ),
            mishap,
            goes_on=partial(gone_on_with, attempt=attempt),
            client_of=known,
        )

    @precondition(lambda self: self.under_way)
    @rule(succeeds=st.booleans())
    @step
    def a_payment_is_decided_on(self, succeeds: bool) -> None:
        """By the rider, at their bank's page; or by the bank, days later."""
        self.decide(self.under_way[0], succeeds)

    @property
    def under_way(self) -> list[Known]:
        return [known for known in self.known if known.seen.ledger in UNDER_WAY]

    def decide(self, known: Known, succeeds: bool) -> None:
        self.act(
            lambda: self.stand_in.settle(self.payment_under_way(known), succeeds=succeeds),
            lambda one, state: [
                settled(state, succeeds=succeeds) if one is known else stays(state)
            ],
            None,
        )

    # The service's processes, and a person.

    @precondition(somebody_booked)
    @rule(mishap=mishaps)
    @step
    def the_completer_runs(self, mishap: Mishap) -> None:
        attempt, undisturbed = self.attempt(mishap), self.attempt(None)
        self.act(
            lambda: complete_due_keys(MOST_KEYS),
            # Of several keys the weather strikes one; and which of them are due, other tests say.
            lambda _, state: [
                completed(state, attempt),
                completed(state, undisturbed),
                stays(state),
            ],
            mishap,
            goes_on=partial(worked_on, attempt=undisturbed),
        )

    @precondition(somebody_booked)
    @rule(mishap=accidents)
    @step
    def the_reaper_runs(self, mishap: Mishap) -> None:
        # An answer waits behind a key that was run before it and is not finished.
        one_is_unfinished = not all(known.is_at_rest for known in self.known)
        self.act(
            lambda: reap(MOST_KEYS),
            lambda _, state: [reaped(state), *([stays(state)] if one_is_unfinished else [])],
            mishap,
            goes_on=put_before_a_person,
        )

    @precondition(somebody_booked)
    @rule(mishap=accidents)
    @step
    def the_enqueuer_runs(self, mishap: Mishap) -> None:
        self.act(hand_jobs_over, no_key_changes, mishap)

    @precondition(somebody_booked)
    @rule(mishap=accidents)
    @step
    def the_worker_runs(self, mishap: Mishap) -> None:
        self.act(lambda: run_queued_jobs(MOST_JOBS), no_key_changes, mishap)

    @precondition(lambda self: any(known.seen.is_under_review for known in self.known))
    @rule(mishap=mishaps)
    @step
    def a_person_runs_one_again(self, mishap: Mishap) -> None:
        attempt = self.attempt(mishap)
        pk, key = keys_under_review().values_list("pk", "idempotency_key")[0]
        self.act(
            partial(decide_to_run_again, pk),
            lambda one, state: [reviewed(state, attempt) if one.key == key else stays(state)],
            mishap,
            goes_on=partial(worked_on, attempt=attempt),
        )

    @precondition(lambda self: self.frozen)
    @rule()
    @step
    def the_frozen_wake(self) -> None:
        while self.frozen:
            self.wake(self.frozen.pop(0))

    @precondition(lambda self: self.has_news)
    @rule()
    @step
    def another_version_is_deployed(self) -> None:
        """The new one has renamed a point; the old one does not know the new name."""
        self.deploy(NEW_POINT if self.ride_point == OLD_POINT else OLD_POINT)

    @precondition(lambda self: self.has_news)
    @rule(card=st.sampled_from(list(SOURCES)))
    @step
    def a_riders_customer_is_replaced(self, card: str) -> None:
        """By another one at Stripe with such a card: what was begun goes on with the first one."""
        self.replace_customer(card)
        self.has_news = False

    # The clocks.

    @initialize(is_=st.sampled_from(list(STRIPES_FROM_THE_BEGINNING)))
    def stripes_clock(self, is_: str) -> None:
        self.stripe_was_ahead = STRIPES_FROM_THE_BEGINNING[is_]
        self.set_clock(STRIPES, self.stripe_was_ahead)

    @precondition(somebody_booked)
    @rule(whose=st.sampled_from([DATABASES, *CLOCKS]), to=st.sampled_from(list(SIDES)))
    @step
    def a_clock_is_set(self, whose: str, to: str) -> None:
        if self.frozen:
            self.the_frozen_wake()  # as below
        from_the_beginning = self.stripe_was_ahead if whose == STRIPES else timedelta(0)
        self.set_clock(whose, from_the_beginning + SIDES[to] * WRONG_BY[whose])

    @precondition(somebody_booked)
    @rule(by=st.sampled_from(list(TIMES)))
    @step
    def time_passes(self, by: str) -> None:
        if TIMES[by] >= RESEND_WINDOW and self.frozen:
            # Nobody sleeps for a day between the look at their clock and the sending: a condition.
            self.the_frozen_wake()
        self.let_pass(TIMES[by])

    # The end of the story.

    def teardown(self) -> None:
        try:
            if not self.went_wrong:
                self.bring_to_rest()
                self.check_invariants_at_rest()
        finally:
            self.deploy(OLD_POINT)
            for one in self.frozen:
                one.process.kill()

    def bring_to_rest(self) -> None:
        if self.frozen:
            self.the_frozen_wake()
        self.deploy(NEW_POINT)
        for _ in keys_under_review():
            self.a_person_runs_one_again(mishap=None)
        for known in self.under_way:
            if known.seen.ledger is Ledger.PROCESSED:
                self.decide(known, succeeds=True)  # or it would be asked about for weeks
        for known in self.known:
            if known.seen.point == NOWHERE:
                self.ask(known, known.request, None)  # or its rider would be asked at the end only
        for wait in UNTIL_ALL_IS_AT_REST:
            if all(known.is_at_rest for known in self.known):
                break
            self.time_passes(by=wait)
            self.the_completer_runs(mishap=None)
        for known in self.known:
            self.ask(known, known.request, None)
        while jobs_are_owed():
            self.time_passes(by="21 hours")
            self.the_enqueuer_runs(mishap=None)
            self.the_worker_runs(mishap=None)
        self.the_nightly_run_looks()
