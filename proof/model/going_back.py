"""What takes the money of booked rides back when their keys have finished: refunds that are made in
the dashboard, disputes, and the nightly run that writes them down.

The theory is `Reversal`. No key is changed by any of it.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Self

from django.db.models import F
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from idempotency.testing.experiments import nothing
from idempotency.testing.machines import step
from proof.model.known import Known
from proof.model.stage import Stage, no_key_changes
from rides.models import Dispute, ReconciledUntil, Refund, Ride
from rides.reconciliation.position import keep_position
from rides.reversals.decisions import settle
from rides.tests.going_back import reconciled

MAY_FAIL_FOR = timedelta(days=29)
"""A refund that had succeeded: for thirty days, by Stripe's clock."""

ENDS = {
    "pending": ("succeeded", "failed"),
    "succeeded": (None, "failed"),
    "needs_response": ("won", "lost"),
}
"""How each may end, well or not."""

TAKEN = ("failed", "lost")


@dataclass(frozen=True)
class Reversal:
    """A refund or a dispute: as Stripe has it, and its row."""

    status: str
    age: timedelta = timedelta(0)
    written_down: str = ""
    is_settled: bool = False

    def end(self, *, well: bool) -> str | None:
        """The status that it may come to, if there is one."""
        if self.status == "succeeded" and self.age > MAY_FAIL_FOR:
            return None
        return ENDS.get(self.status, (None, None))[0 if well else 1]

    def looked_at(self) -> Self:
        """Written down as it is: settled where it has ended well, and open again where the money
        is gone since a person has settled it.
        """
        is_taken = self.status in TAKEN and self.status != self.written_down
        is_settled = self.status == "won" or (self.is_settled and not is_taken)
        return replace(self, written_down=self.status, is_settled=is_settled)

    def __str__(self) -> str:
        return f"{self.written_down}, {'settled' if self.is_settled else 'open'}"


class MoneyGoesBack(Stage):
    """What can happen to the money of a booked ride."""

    def __init__(self) -> None:
        super().__init__()
        self.reversals: dict[str, Reversal] = {}
        self.gone_back: set[str] = set()
        keep_position(timezone.now())

    @property
    def flown(self) -> list[Known]:
        """Booked, and none of their money has gone back."""
        booked = [known for known in self.known if known.seen.status == 201]
        return [known for known in booked if known.key not in self.gone_back]

    @precondition(lambda self: self.flown)
    @rule(status=st.sampled_from(["succeeded", "pending"]))
    @step
    def somebody_refunds_one_in_the_dashboard(self, status: str) -> None:
        charge = self.charge_of(self.flown[0])
        self.goes_back(self.stand_in.refund(charge, status=status), Reversal(status))

    @precondition(lambda self: self.flown)
    @rule()
    @step
    def a_bank_disputes_one(self) -> None:
        charge = self.charge_of(self.flown[0])
        self.goes_back(self.stand_in.dispute(charge), Reversal("needs_response"))

    @precondition(lambda self: self.reversals)
    @rule(well=st.booleans())
    @step
    def what_goes_back_is_decided_on(self, well: bool) -> None:
        """By a bank. Of a refund that had succeeded: it fails all the same."""
        for stripe_id, reversal in self.reversals.items():
            if status := reversal.end(well=well):
                self.stand_in.settle(stripe_id, succeeds=well)
                self.reversals[stripe_id] = replace(reversal, status=status)
                break
        self.act(nothing, no_key_changes, None)

    @precondition(lambda self: self.open_rows)
    @rule()
    @step
    def a_person_settles_a_row(self) -> None:
        stripe_id = self.open_rows[0]
        self.reversals[stripe_id] = replace(self.reversals[stripe_id], is_settled=True)
        [row] = [row for row in rows() if row.stripe_id == stripe_id]
        decide = partial(settle, row, reviewer="a person", reason="it is accepted")
        self.act(decide, no_key_changes, None)

    @property
    def open_rows(self) -> list[str]:
        return [
            stripe_id
            for stripe_id, reversal in self.reversals.items()
            if reversal.written_down and not reversal.is_settled
        ]

    @precondition(lambda self: self.known)
    @rule()
    @step
    def the_nightly_run_looks(self) -> None:
        for stripe_id, reversal in self.reversals.items():
            self.reversals[stripe_id] = seen = reversal.looked_at()
            if seen != reversal:
                self.happened[f"row: {seen}"] += 1
        self.act(lambda: reconciled("--since-last"), no_key_changes, None)

    # How it is done, and compared.

    def charge_of(self, known: Known) -> str:
        return str(Ride.objects.get(idempotency_key__idempotency_key=known.key).stripe_charge_id)

    def goes_back(self, stripe_id: str, reversal: Reversal) -> None:
        self.gone_back.add(self.flown[0].key)
        self.reversals[stripe_id] = reversal
        self.act(nothing, no_key_changes, None)

    def look(self) -> None:
        super().look()
        there = {row.stripe_id: (row.status, row.is_open) for row in rows()}
        written_down = {
            stripe_id: (reversal.written_down, not reversal.is_settled)
            for stripe_id, reversal in self.reversals.items()
            if reversal.written_down
        }
        assert there == written_down, f"the rows are {there}; the model has {written_down}"

    def let_pass(self, by: timedelta) -> None:
        super().let_pass(by)
        ReconciledUntil.objects.update(until=F("until") - by)
        for stripe_id, reversal in self.reversals.items():
            self.reversals[stripe_id] = replace(reversal, age=reversal.age + by)


def rows() -> list[Refund | Dispute]:
    return [*Refund.objects.all(), *Dispute.objects.all()]
