"""Where a key may stand: what can be seen of it, and what else decides what comes next."""

from dataclasses import dataclass, fields
from datetime import timedelta
from enum import StrEnum

from idempotency import FINISHED, STARTED, conf
from rides.operations import CHARGE_CREATED

STRIPE_FORGETS = timedelta(hours=24)
NOWHERE = ""  # there is no row
OLD_POINT, NEW_POINT = "ride_created", "ride_recorded"
GOOD_CARD, BAD_CARD = "good card", "bad card"

NOT_DELIVERED = ("conflict", "rate_limit", "reset_before")
ANSWER_LOST = ("reset_after", "malformed_json")
SAVED_ERRORS = ("error_before", "error_after")
REFUSED = "hostile_refusal"
DECLINES = ("decline", "hostile_decline")
WEATHERS = (*NOT_DELIVERED, *ANSWER_LOST, *SAVED_ERRORS, *DECLINES, REFUSED)
FINE = "fine weather"


class Ledger(StrEnum):
    """What Stripe has of the ride."""

    NOTHING = "nothing"
    PAID = "paid"
    DECLINED = "declined"


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
    ledger: str = Ledger.NOTHING

    def __str__(self) -> str:
        if self.point == NOWHERE:
            return "no row"
        flags = ("is_leased", "is_under_review", "is_reaped")
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
