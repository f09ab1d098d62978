"""Where a key may stand: what can be seen of it, and what else decides what comes next."""

from dataclasses import dataclass, fields
from datetime import timedelta
from enum import StrEnum

from idempotency import FINISHED, STARTED, conf
from rides.operations import CHARGE_CREATED
from rides.payments.statuses import PAYMENTS

STRIPE_FORGETS = timedelta(hours=24)
ONE_DAY = timedelta(days=1)
NOWHERE = ""  # there is no row
OLD_POINT, NEW_POINT = "ride_created", "ride_recorded"
GOOD_CARD, BAD_CARD, ASKING_CARD = "good card", "bad card", "card whose bank asks"

RESETS = ("reset_before", "reset_after")
NOT_DELIVERED = ("conflict", "rate_limit", "reset_before")
ANSWER_LOST = ("reset_after", "malformed_json")
SAVED_ERRORS = ("error_before", "error_after")
REFUSED = "hostile_refusal"
DECLINES = ("decline", "hostile_decline")
TAKES_DAYS = "processing"
WEATHERS = (*NOT_DELIVERED, *ANSWER_LOST, *SAVED_ERRORS, *DECLINES, REFUSED, TAKES_DAYS)
FINE = "fine weather"


class Ledger(StrEnum):
    """What Stripe has of the ride."""

    NOTHING = "nothing"
    PAID = "paid"
    DECLINED = "declined"
    """Or withdrawn: there is a payment, and no money will come of it."""
    ASKED = "asked of the rider"
    PROCESSED = "processed by the bank"


UNDER_WAY = {
    Ledger.ASKED: PAYMENTS["requires_action"],
    Ledger.PROCESSED: PAYMENTS["processing"],
}
"""What it is neither paid nor declined with, and when it is asked about and given up."""


class Saved(StrEnum):
    """What Stripe repeats when it is asked again under the same key."""

    NOTHING = "nothing"
    ANSWER = "its answer"
    ERROR = "a 500"


@dataclass(frozen=True)
class Seen:
    """What a look into the database and into Stripe's ledger shows of a key."""

    point: str = NOWHERE
    status: int | None = None
    attempt: int = 0
    is_leased: bool = False
    is_under_review: bool = False
    is_reaped: bool = False
    is_pending: bool = False
    ledger: str = Ledger.NOTHING

    def __str__(self) -> str:
        if self.point == NOWHERE:
            return "no row"
        flags = ("is_leased", "is_under_review", "is_reaped", "is_pending")
        noted = [name.removeprefix("is_") for name in flags if getattr(self, name)]
        status = [str(self.status)] if self.status else []
        return ", ".join(
            [self.point, *status, f"attempt {self.attempt}", *noted, f"at Stripe: {self.ledger}"]
        )


@dataclass(frozen=True)
class State(Seen):
    """All that decides what comes next."""

    card: str = GOOD_CARD
    saved: Saved = Saved.NOTHING
    request: str = ""
    age: timedelta = timedelta(0)
    since_locked: timedelta = timedelta(0)
    since_claimed: timedelta = timedelta(0)
    since_sent: timedelta | None = timedelta(0)
    """None where a new question has not been sent yet."""
    was_refused: bool = False
    """Why it is under review: Stripe has refused it, so a person's decision asks anew."""
    is_asked_anew: bool = False
    was_under_way: Ledger = Ledger.NOTHING
    """How its payment began, where that was neither paid nor declined at once."""
    since_pending: timedelta = timedelta(0)
    not_asked_about_for: timedelta = timedelta(0)
    asked_about_within: timedelta = timedelta(0)
    """What is pending is asked about again in between; a draw decides when, after a failure."""

    @property
    def seen(self) -> Seen:
        return Seen(**{column.name: getattr(self, column.name) for column in fields(Seen)})

    @property
    def is_worked_on(self) -> bool:
        """Whether a lease is live. One that is still to begin is of a clock that was wrong."""
        settings = conf.current()
        is_live = -settings.clock_tolerance <= self.since_locked < settings.lock_timeout
        return self.is_leased and is_live

    @property
    def waits(self) -> bool:
        """Whether it is too early to ask what became of what is pending."""
        return self.is_pending and self.not_asked_about_for > timedelta(0)

    @property
    def may_wait(self) -> bool:
        return self.is_pending and self.asked_about_within > timedelta(0)

    @property
    def is_given_up(self) -> bool:
        """Whether it was pending for too long already when it was claimed."""
        gives_up_after = UNDER_WAY[self.was_under_way].gives_up_after
        return self.since_pending - self.since_claimed >= gives_up_after

    @property
    def is_overdue(self) -> bool:
        """Whether a person is to see why it has not ended."""
        if self.is_pending:
            return self.since_pending >= UNDER_WAY[self.was_under_way].gives_up_after + ONE_DAY
        return self.age >= conf.current().retention

    @property
    def is_free(self) -> bool:
        """Whether somebody may take the key over."""
        is_open = self.point not in (NOWHERE, FINISHED) and not self.is_under_review
        return is_open and not self.is_worked_on


@dataclass(frozen=True)
class Attempt:
    """What differs from one attempt to the next: Stripe, and the code that is live."""

    weather: str = FINE
    ride_point: str = OLD_POINT

    @property
    def known_points(self) -> tuple[str, ...]:
        renamed = (OLD_POINT,) if self.ride_point == OLD_POINT else (OLD_POINT, NEW_POINT)
        return STARTED, CHARGE_CREATED, *renamed
