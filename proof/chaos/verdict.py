"""The end of a chaos run: all comes to rest, everybody is told the outcome, and it must fit.

The checks are the same as after a crash at a boundary, `proof.invariants`, for every key.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, product

from django.db import DatabaseError, connection
from django.http import HttpResponse

from idempotency.models import FINISHED, IdempotencyKey, JobDelivery, StagedJob
from idempotency.operations import Operation
from idempotency.testing import INVARIANTS, Experiment, Trial
from proof.chaos.clients import Booking, Clients, is_the_last
from proof.chaos.nemeses import Schedule
from proof.chaos.outcome import KEYS_AT_REST_WITHIN_SECONDS, Sighting
from proof.chaos.world import World
from proof.invariants import OF_A_KEY, OF_ALL_OF_THEM, Invariant
from rides.operations import CreateRide

LOOK_AGAIN_SECONDS = 0.2
JOBS_AT_REST_WITHIN_SECONDS = 1_200.0  # one worker sends the receipts of several servers
ASKING_AT_ONCE = 16
MOST_ASKED = 50

# Which nemeses leave an outcome open, and which leave a lease behind that has to run out.
UNKNOWN = ("conflict", "rate_limit", "reset", "error", "stall", "malformed")
LEFT_BEHIND = ("kill -9 api", "of the api's workers", "freeze api", "PostgreSQL", "backends")
RETRIED = (*UNKNOWN, *LEFT_BEHIND)

EVENTS = """
SELECT entry ->> 'event', count(*)
  FROM idempotency_idempotencykey, jsonb_array_elements(journal) AS entry
 GROUP BY 1
"""


def nobody_asks(key: str) -> HttpResponse:
    raise AssertionError("the run is over")


@dataclass(frozen=True)
class Promises:
    """What must hold of the keys of an operation, of each and of all together."""

    operation: type[Operation]
    of_a_key: tuple[Invariant, ...]
    of_all: tuple[Invariant, ...]


OF_RIDES = Promises(CreateRide, OF_A_KEY, OF_ALL_OF_THEM)


def wait_for_keys() -> float:
    """Return after how many seconds every key was finished, or with a person."""
    unfinished = IdempotencyKey.objects.filter(needs_review_at=None).exclude(
        recovery_point=FINISHED
    )
    return seconds_until(lambda: not unfinished.exists(), KEYS_AT_REST_WITHIN_SECONDS)


def wait_for_jobs() -> float:
    """Return after how many seconds every job was done, those for later too."""

    def are_done() -> bool:
        return not (StagedJob.objects.exists() or JobDelivery.objects.exists())

    return seconds_until(are_done, JOBS_AT_REST_WITHIN_SECONDS)


def seconds_until(is_so: Callable[[], bool], limit: float) -> float:
    began_at = time.monotonic()
    while (passed := time.monotonic() - began_at) < limit and not is_so():
        time.sleep(LOOK_AGAIN_SECONDS)
    return passed


def tell_everybody(clients: Clients) -> None:
    """Each key is asked for once more, with all in good order; so each has its last answer."""

    def ask(booking: Booking) -> None:
        for _ in range(MOST_ASKED):
            answer = clients.ask(booking)
            if answer is not None and is_the_last(answer):
                return
            time.sleep(LOOK_AGAIN_SECONDS)

    with ThreadPoolExecutor(ASKING_AT_ONCE) as pool:
        list(pool.map(ask, clients.bookings))


def violations_of(bookings: Iterable[Booking], promises: Promises = OF_RIDES) -> list[str]:
    """What did not hold, of every key and of all of them together."""
    at_rest = object()
    experiment = Experiment(operation=promises.operation, send=nobody_asks, invariants=())
    trials = [
        Trial(
            experiment=experiment,
            idempotency_key=booking.key,
            answers=booking.answers,
            at_rest=at_rest,
        )
        for booking in bookings
    ]
    of_each = product(trials, (*INVARIANTS, *promises.of_a_key))
    of_all = product(trials[-1:], promises.of_all)
    return [
        violation
        for trial, invariant in chain(of_each, of_all)
        for violation in violation_of(invariant, trial)
    ]


def violation_of(invariant: Invariant, trial: Trial) -> list[str]:
    try:
        invariant(trial)
    except AssertionError as error:
        return [f"{invariant.__name__}: key {trial.idempotency_key}: {error}"]
    return []


def go_on_until_all_is_seen(
    look: Callable[[], list[Sighting]], schedule: Schedule, *, minutes: float, patience: float
) -> None:
    """Let happen, for so many seconds at most, what the things that are still to be seen come of.

    So a run of a minute reaches the same as any other, whatever its dice and its machine.
    """
    ends_at = time.monotonic() + patience
    while time.monotonic() < ends_at:
        try:
            seen = look()
        except DatabaseError:  # PostgreSQL is down at this moment, as it may be
            connection.close()
        else:
            missing = [each for each in seen if each.is_missing(minutes, schedule.names)]
            if not missing:
                return
            schedule.narrow(
                name for name in schedule.names if any(each.comes_of_this(name) for each in missing)
            )
        time.sleep(LOOK_AGAIN_SECONDS)


def sightings(world: World, clients: Clients) -> list[Sighting]:
    with connection.cursor() as cursor:
        cursor.execute(EVENTS)
        events = Counter(dict(cursor.fetchall()))
    log = (world.folder / "completer.log").read_text(errors="replace")
    lookups = world.stand_in.calls()["calls"].get("GET /v1/payment_intents", 0)
    serialization = world.log_of_postgres().count("could not serialize access")
    fenced = clients.told["fenced"] + log.count("code=request_in_progress")
    under_review = IdempotencyKey.objects.filter(needs_review_at__isnull=False).count()
    return [
        Sighting("take-overs by a retry", events["retried"], 10, RETRIED),
        Sighting("take-overs by the completer", events["taken_by_completer"], 10, LEFT_BEHIND),
        Sighting("rejected by the fence", fenced, 1, ("freeze api", "freeze completer")),
        # Enrolments change the few rows of their courses, at the strictest level.
        Sighting("serialization failures, retried", serialization, 10),
        Sighting("replays", clients.told["replays"], 50),
        Sighting("look-ups at Stripe", lookups, 1, ("Stripe: error",)),
        Sighting("outcomes that were not known", events["outcome_unknown"], 10, UNKNOWN),
        Sighting("calls to Stripe that went wrong", world.foreign_faults, 20, ("Stripe: ",)),
        Sighting("processes killed", world.kills, 5, ("kill -9",)),
        Sighting("PostgreSQL restarts", world.restarts_of_postgres, 1, ("PostgreSQL restarted",)),
        Sighting("switchovers", world.pair.switchovers, 1, ("switched over",)),
        Sighting("left to a person", under_review, 0),
    ]
