"""What is kept of each key: the states that it may be in, what its client was told, and whether
that is what the reference allows.
"""

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from idempotency import FINISHED, conf
from idempotency.models import IdempotencyKey
from idempotency.testing import Answer, Experiment, Trial
from idempotency.testing.processes import Forked
from proof.bookings import booking_of
from proof.model.reference import NO_ANSWER, Way, end_of, heard_before, stays, stops_on
from proof.model.states import NOWHERE, UNDER_WAY, Ledger, Seen, State
from rides.models import User
from sandbox.stripe.control import StandIn

THE_SAME, ANOTHER = "the same request", "another request"
FIELDS = {THE_SAME: {}, ANOTHER: {"target_lat": "35.0"}}

Experiments = dict[str, Experiment]
"""The requests that a rider sends, by what they are called in a story."""


class Known:
    """A key, what may have become of it, and what its client was told."""

    def __init__(self, card: str, experiments: Experiments) -> None:
        self.key = str(uuid.uuid4())
        self.experiments = experiments
        self.possible = {State(card=card)}
        self.outcomes: set[tuple[State, str]] = set()
        self.answers: list[Answer] = []

    def expect(self, ways: Callable[[State], Iterable[Way]], *, was_struck: bool) -> None:
        """What may come of it, by the reference, before anybody has looked."""
        stops = stops_on if was_struck else end_of
        self.outcomes = {
            outcome for state in self.possible for way in ways(state) for outcome in stops(way)
        }

    def readable(self, ways: Callable[[State], Iterable[Way]]) -> frozenset[str]:
        """The answers for which the key need only be read, not changed."""
        ends = (
            (state, end) for state in self.possible for way in ways(state) for end in end_of(way)
        )
        return frozenset(answer for state, (end, answer) in ends if end == state)

    def hear(self, answer: Answer | None) -> str:
        """Keep what goes with the client's answer, and return that in a word.

        Raises: `AssertionError` where nothing goes with it.
        """
        told = NO_ANSWER if answer is None else said_by(answer)
        allowed = {answer for _, answer in self.outcomes}
        assert told in allowed, f"the client was told {told}; the model has {listed(allowed)}"
        self.outcomes = {outcome for outcome in self.outcomes if outcome[1] == told}
        if told == "key_expired":
            self.answers = [answer for answer in self.answers if answer.is_final]
        elif answer and told != "parameters_mismatch":
            self.answers.append(answer)
        meantime = {answer.body for answer in self.answers if answer.is_pending}
        assert len(meantime) <= 1, f"different answers while it was pending: {meantime}"
        return told

    def see(self, seen: Seen) -> None:
        """Keep what goes with the row and the ledger. Raises: as `hear`."""
        allowed = {state.seen for state, _ in self.outcomes}
        assert seen in allowed, f"there is ({seen}); the model has {listed(allowed)}"
        self.possible = {state for state, _ in self.outcomes if state.seen == seen}
        if seen.point == NOWHERE:
            self.answers.clear()  # what was promised of it ends with the row

    @property
    def seen(self) -> Seen:
        return next(iter(self.possible)).seen

    @property
    def is_at_rest(self) -> bool:
        return self.seen.point in (NOWHERE, FINISHED) or self.seen.is_under_review

    @property
    def trial(self) -> Trial:
        """For the invariants, at the end."""
        experiment = self.experiments[self.request]
        return Trial(experiment=experiment, idempotency_key=self.key, answers=self.answers)

    @property
    def request(self) -> str:
        return next(iter(self.possible)).request or THE_SAME


Ways = Callable[[Known, State], Iterable[Way]]


@dataclass(frozen=True)
class Frozen:
    """Somebody who stopped in the middle of something, and what may come of it when they wake."""

    process: Forked
    ways: Ways
    goes_on: Callable[[State], Way]
    client_of: Known | None
    has_read: frozenset[str]
    """What their client may be told without another look at the key."""

    def ways_when_woken(self, known: Known, state: State) -> Iterator[Way]:
        yield from self.ways(known, state)
        if self.client_of in (None, known):
            yield self.goes_on(state)
            yield heard_before(state)
            yield from (stays(state, answer) for answer in self.has_read)


def said_by(answer: Answer) -> str:
    said: str = json.loads(answer.body).get("code", "booked")
    return "pending" if answer.is_pending else said


def listed(allowed: Iterable[Seen | str]) -> str:
    return " or ".join(sorted(f"({one})" for one in allowed))


def experiments_of(rider: User, stand_in: StandIn) -> Experiments:
    return {request: booking_of(rider, stand_in, **fields) for request, fields in FIELDS.items()}


LEDGER = {
    "succeeded": Ledger.PAID,
    "requires_action": Ledger.ASKED,
    "processing": Ledger.PROCESSED,
    "requires_payment_method": Ledger.DECLINED,
    "canceled": Ledger.DECLINED,
}


def seen_in(row: IdempotencyKey, payments: list[dict[str, Any]]) -> Seen:
    """What there is of a key, of the `payments` under it those that were made for this row and not
    for one of the same key a month before, as far as Stripe's clock and the database's may differ.
    """
    earliest = (row.created_at - conf.current().lookup_span).timestamp()
    made = [LEDGER[payment["status"]] for payment in payments if payment["created"] >= earliest]
    standing = [ledger for ledger in made if ledger in (Ledger.PAID, *UNDER_WAY)]
    ledger = next(iter([*standing, *made]), Ledger.NOTHING)
    return Seen(
        row.recovery_point,
        row.response_code,
        row.attempt,
        row.locked_at is not None,
        row.is_under_review,
        row.is_tombstone,
        row.is_pending,
        ledger if len(standing) < 2 else f"more than once: {', '.join(standing)}",
    )
