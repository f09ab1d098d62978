"""The stage of the model: how something is done on it, and how what came of it is compared.

Apart from the machine, so that its rules read as what can happen and nothing else.
"""

from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import product
from typing import Any, ClassVar

from django.db import connection
from django.db.models import F

from idempotency.models import IdempotencyKey
from idempotency.phases import undo_point
from idempotency.testing import INVARIANTS
from idempotency.testing.clock import let_time_pass
from idempotency.testing.machines import Story
from idempotency.testing.mishaps import Crash, Done
from proof.invariants import OF_A_KEY, OF_ALL_OF_THEM
from proof.model.known import LEDGER, Experiments, Frozen, Known, Ways, seen_in
from proof.model.mishaps import Mishap, do
from proof.model.reference import Way, aged, stays
from proof.model.states import (
    ASKING_CARD,
    BAD_CARD,
    FINE,
    GOOD_CARD,
    OLD_POINT,
    UNDER_WAY,
    Attempt,
    Seen,
    State,
)
from rides import operations, payments
from rides.models import Ride, User
from rides.operations import CreateRide
from rides.tests.booking import charging_key
from sandbox.stripe.control import StandIn

CLOCKS = DATABASES, STRIPES = "the database's", "Stripe's"
SOURCES = {
    GOOD_CARD: "tok_visa",
    BAD_CARD: "tok_chargeCustomerFail",
    ASKING_CARD: "tok_threeDSecure2Required",
}

# Of few rows, which is quicker than to truncate.
EMPTY_EVERYTHING = """
DELETE FROM django_tasks_database_dbtaskresult;
DELETE FROM idempotency_stagedjob;
DELETE FROM idempotency_jobdelivery;
DELETE FROM rides_auditrecord;
DELETE FROM rides_refund;
DELETE FROM rides_dispute;
DELETE FROM rides_reconcileduntil;
DELETE FROM rides_ride;
DELETE FROM idempotency_idempotencykey;
DELETE FROM idempotency_testing_history;
"""


class Stage(Story):
    """Empty at the beginning of each story."""

    riders: ClassVar[dict[str, User]]
    experiments: ClassVar[dict[str, Experiments]]
    stand_in: ClassVar[StandIn]

    def __init__(self) -> None:
        super().__init__()
        self.known: list[Known] = []
        self.frozen: list[Frozen] = []
        self.ahead = dict.fromkeys(CLOCKS, timedelta(0))
        self.deploy(OLD_POINT)
        with connection.cursor() as cursor:
            cursor.execute(EMPTY_EVERYTHING)
        self.stand_in.reset()
        for card in self.riders:
            self.replace_customer(card)

    def replace_customer(self, card: str) -> None:
        rider = self.riders[card]
        customer = payments.create_customer(email=rider.email, source=SOURCES[card])
        User.objects.filter(pk=rider.pk).update(stripe_customer_id=customer)

    def attempt(self, mishap: Mishap) -> Attempt:
        return Attempt(mishap if isinstance(mishap, str) else FINE, self.ride_point)

    def act(
        self,
        work: Callable[[], Any],
        ways: Ways,
        mishap: Mishap,
        *,
        goes_on: Callable[[State], Way] = stays,
        client_of: Known | None = None,
    ) -> None:
        """Do it, with its mishap, and compares.

        Args:
            ways: what may become of each key.
            goes_on: what else may, where whoever does it freezes midway and wakes.
            client_of: the key whose client waits for the answer.
        """
        self.has_news = True
        done = do(work, mishap, self.stand_in)
        if done.was_struck or isinstance(mishap, str):
            self.happened[f"mishap: {mishap.fault if isinstance(mishap, Crash) else mishap}"] += 1
        if done.frozen:
            has_read = client_of.readable(partial(ways, client_of)) if client_of else frozenset()
            self.frozen.append(Frozen(done.frozen, ways, goes_on, client_of, has_read))
        self.compare(done, ways, client_of)

    def compare(self, done: Done, ways: Ways, client_of: Known | None) -> None:
        for known in self.known:
            known.expect(partial(ways, known), was_struck=done.was_struck)
        if client_of:
            self.happened[f"told: {client_of.hear(done.answer)}"] += 1
        self.look()

    def look(self) -> None:
        rows = {row.idempotency_key: row for row in IdempotencyKey.objects.defer("journal")}
        payments = self.payments()
        for known in self.known:
            row, before = rows.get(known.key), known.seen
            known.see(seen_in(row, payments[charging_key(row)]) if row else Seen())
            if before.is_pending and known.seen.status:
                self.happened[f"{before.ledger}, and then {known.seen.status}"] += 1

    def payments(self) -> defaultdict[str, list[dict[str, Any]]]:
        """Those that Stripe was asked for, by foreign key. What makes a key useless has nobody to
        pay.
        """
        payments = defaultdict(list)
        for payment in self.stand_in.payment_intents()["each"]:
            if payment["customer"]:
                payments[payment["foreign_key"]].append(payment)
        return payments

    def payment_under_way(self, known: Known) -> str:
        row = IdempotencyKey.objects.get(idempotency_key=known.key)
        made = self.payments()[charging_key(row)]
        return next(str(one["id"]) for one in made if LEDGER[one["status"]] in UNDER_WAY)

    def wake(self, one: Frozen) -> None:
        one.process.thaw()
        one.process.wait()
        done = Done(one.process.result(), was_struck=True)
        self.compare(done, one.ways_when_woken, one.client_of)

    def let_pass(self, by: timedelta) -> None:
        let_time_pass(by)
        Ride.objects.update(created_at=F("created_at") - by)
        self.stand_in.let_time_pass(round(by.total_seconds()))
        for known in self.known:
            known.possible = {aged(state, by) for state in known.possible}

    def set_clock(self, whose: str, ahead: timedelta) -> None:
        """Set Stripe's clock or the database's ahead of the machine's, or behind it.

        The database's clock is the machine's here. It is set ahead by having all that is dated be
        so much older, and Stripe's clock behind by as much, which leaves Stripe its memory.
        """
        by, self.ahead[whose] = ahead - self.ahead[whose], ahead
        if whose == DATABASES:
            self.let_pass(by)
        apart = self.ahead[STRIPES] - self.ahead[DATABASES]
        self.stand_in.set_clock(apart.total_seconds())

    def deploy(self, ride_point: str) -> None:
        """A version that calls the point so. The new one knows the old name, too."""
        self.ride_point, self.has_news = ride_point, False
        former = () if ride_point == OLD_POINT else (OLD_POINT,)
        operations.RIDE_CREATED = ride_point
        for phase, named in (
            (CreateRide.charge_rider, str),
            (CreateRide.take_back_charge, undo_point),
        ):
            phase.recovery_point = named(ride_point)
            phase.renamed_from = tuple(map(named, former))
        CreateRide.phase_at.cache_clear()

    def check_invariants_at_rest(self) -> None:
        trials = [known.trial for known in self.known if known.answers]
        for trial, invariant in product(trials, (*INVARIANTS, *OF_A_KEY)):
            invariant(trial)
        for trial, invariant in product(trials[:1], OF_ALL_OF_THEM):
            invariant(trial)


def no_key_changes(known: Known, state: State) -> list[Way]:
    return [stays(state)]
