"""The end of a chaos run: all comes to rest, everybody is told the outcome, and it must fit.

The checks are the same as after a crash at a boundary, `rides.tests.invariants`, for every key.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, product

from django.db import DatabaseError, connection
from django.http import HttpResponse

from idempotency.models import FINISHED, IS_FOR_NOW, IdempotencyKey, JobDelivery, StagedJob
from idempotency.testing import INVARIANTS, Experiment, Trial
from proof.clients import Booking, Clients
from proof.nemeses import Schedule
from proof.outcome import KEYS_AT_REST_WITHIN_SECONDS, Sighting
from proof.world import World
from rides.operations import CreateRide
from rides.tests.invariants import OF_A_KEY, OF_ALL_OF_THEM, Invariant

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


EVERYTHING = Experiment(operation=CreateRide, send=nobody_asks, invariants=())


def wait_for_keys() -> float:
    """Return after how many seconds every key was finished, or with a person."""
    unfinished = IdempotencyKey.objects.filter(needs_review_at=None).exclude(
        recovery_point=FINISHED
    )
    return seconds_until(lambda: not unfinished.exists(), KEYS_AT_REST_WITHIN_SECONDS)


def wait_for_jobs() -> float:
    """Return after how many seconds every job was done."""

    def are_done() -> bool:
        staged = StagedJob.objects.filter(IS_FOR_NOW)
        return not (staged.exists() or JobDelivery.objects.exists())

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
            if answer is not None and (answer.is_final or b"needs_review" in answer.body):
                return
            time.sleep(LOOK_AGAIN_SECONDS)

    with ThreadPoolExecutor(ASKING_AT_ONCE) as pool:
        list(pool.map(ask, clients.bookings))


def violations_of(bookings: Iterable[Booking]) -> list[str]:
    """What did not hold, of every key and of all of them together."""
    at_rest = object()
    trials = [
        Trial(
            experiment=EVERYTHING,
            idempotency_key=booking.key,
            answers=booking.answers,
            at_rest=at_rest,
        )
        for booking in bookings
    ]
    of_each = product(trials, (*INVARIANTS, *OF_A_KEY))
    of_all = product(trials[-1:], OF_ALL_OF_THEM)
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
    world: World, schedule: Schedule, clients: Clients, *, minutes: float, patience: float
) -> None:
    """Let happen, for so many seconds at most, what the things that are still to be seen come of.

    So a run of a minute reaches the same as any other, whatever its dice and its machine.
    """
    ends_at = time.monotonic() + patience
    while time.monotonic() < ends_at:
        try:
            seen = sightings(world, clients)
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
        # The first start of the API is at the strictest level, and then every other one.
        Sighting("serialization failures, retried", serialization, 1, ("kill -9 api",)),
        Sighting("replays", clients.told["replays"], 50),
        Sighting("look-ups at Stripe", lookups, 1, ("Stripe: error",)),
        Sighting("outcomes that were not known", events["outcome_unknown"], 10, UNKNOWN),
        Sighting("calls to Stripe that went wrong", world.foreign_faults, 20, ("Stripe: ",)),
        Sighting("processes killed", world.kills, 5, ("kill -9",)),
        Sighting("PostgreSQL restarts", world.restarts_of_postgres, 1, ("PostgreSQL restarted",)),
        Sighting("switchovers", world.pair.switchovers, 1, ("switched over",)),
        Sighting("left to a person", under_review, 0),
    ]
