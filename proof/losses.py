"""`python -m proof.losses`: the service under load while its database loses its last commits.

The primary is killed with -9 while an asynchronous standby has not heard of its last commits; the
standby is promoted, hands the lost serial ids out again, and the clients' retries go on. In the end
there is for each idempotency key at most one charge, no payment is on a foreign ride, every charge
is on its ride or in `manage.py reconcile`'s list, and nobody has another key's answer.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import django

from proof.chaos.pair import Pair
from proof.chaos.world import World, leave, running_world, serving
from proof.failover import first_booked_after, under_load

if TYPE_CHECKING:
    from proof.chaos.clients import Clients
    from rides.reconciliation.rules import Discrepancy

RIDERS = 40
BAD_CARDS = 10  # many, so that a lost number is often another rider's whose card is declined
CLIENTS = 8
START_WITHIN_SECONDS = 60.0
LOAD_BEFORE_SECONDS = 1.0
BEHIND_SECONDS = (1.0, 2.5)
IN_THE_AIR_SECONDS = 2.0  # of some calls to Stripe, which come back to another history
AN_HOUR = timedelta(hours=1)


def main() -> int:
    signal.signal(signal.SIGTERM, leave)
    options = parse()
    with tempfile.TemporaryDirectory(prefix="losses-") as folder:
        pair = Pair(Path(folder))
        with running_world(Path(folder), options.port, pair) as world:
            os.environ.update(world.environment())
            django.setup()
            failures = run(world, pair, options)
    for failure in failures[:20]:
        sys.stdout.write(f"  {failure}\n")
    sys.stdout.write(f"violations {len(failures)}\n")
    return 1 if failures else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proof.losses", description=__doc__)
    parser.add_argument("--losses", type=int, default=1)
    parser.add_argument("--port", type=int, default=5097, help="of the API (default: 5097)")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def run(world: World, pair: Pair, options: argparse.Namespace) -> list[str]:
    """Return what did not hold."""
    from proof.chaos import verdict  # only now: they import models
    from proof.chaos.clients import Clients, wait_until_up
    from proof.chaos.people import make_riders

    riders = make_riders(RIDERS, BAD_CARDS)
    clients = Clients(options.port, riders, seed=options.seed)
    with serving(world):
        wait_until_up(options.port, within_seconds=START_WITHIN_SECONDS)
        lost = under_load(clients, lambda: list(lose(world, pair, clients, options)))
        world.end_faults()
        verdict.wait_for_keys()
        unclaimed = [f"before the retries: {each}" for each in charges_nowhere(world)]
        verdict.tell_everybody(clients)
    told = " ".join(f"{what}={n}" for what, n in sorted(clients.told.items()))
    sys.stdout.write(f"keys={len(clients.bookings)} {told}\n")
    sys.stdout.write(f"{len(lost)} losses, of so many keys: {' '.join(map(str, lost))}\n")
    return [
        *([] if any(lost) else ["nothing was lost, so nothing was tried"]),
        *unclaimed,
        *violations(world, clients, riders),
    ]


def lose(
    world: World, pair: Pair, clients: "Clients", options: argparse.Namespace
) -> Iterator[int]:
    """Lose the last commits again and again; yield how many keys' rows went with each."""
    dice = random.Random(options.seed)  # noqa: S311 - repeatable, and nothing secret
    for _ in range(options.losses):
        time.sleep(LOAD_BEFORE_SECONDS)
        world.stand_in.add_fault(
            "latency",
            share=0.3,
            seed=dice.randrange(1 << 30),
            seconds=IN_THE_AIR_SECONDS,
            path="POST /v1/payment_intents",
        )
        yield pair.lose_last_commits(behind_seconds=dice.uniform(*BEHIND_SECONDS))
        first_booked_after(pair.promoted_at, clients)
        world.end_faults()


def violations(world: World, clients: "Clients", riders: list[str]) -> Iterator[str]:
    """Yield what does not hold of charges, rides and answers."""
    from rides.models import Ride

    charges = {each["id"]: each for each in world.stand_in.charges(status="succeeded")}
    rides = Ride.objects.filter(stripe_charge_id__isnull=False).select_related("user")
    paid_by = {str(ride.stripe_charge_id): ride for ride in rides}

    times = Counter(charge["metadata"]["foreign_key"] for charge in charges.values())
    yield from (f"{count} charges under {key}" for key, count in times.items() if count > 1)
    yield from (
        f"the payment of {charges[charge_id]['customer']} is on ride {ride.pk} of {ride.user}"
        for charge_id, ride in paid_by.items()
        if charges[charge_id]["customer"] != ride.user.stripe_customer_id
        or charges[charge_id]["metadata"]["foreign_key"] != str(ride.foreign_key)
    )
    # Every client has asked again, so a charge that is still without a ride is its key's second.
    yield from (f"off, after every retry: {each}" for each in what_is_off())
    yield from foreign_answers(clients, riders)


def charges_nowhere(world: World) -> Iterator[str]:
    """Yield the charges that are neither on a ride nor listed, and whatever else is off."""
    from rides.models import Ride
    from rides.reconciliation.rules import Kind

    off = what_is_off()
    listed = {each.charge_id for each in off if each.kind is Kind.CHARGE_WITHOUT_RIDE}
    charges = {each["id"] for each in world.stand_in.charges(status="succeeded")}
    of_rides = Ride.objects.filter(stripe_charge_id__isnull=False)
    nowhere = charges - listed - set(of_rides.values_list("stripe_charge_id", flat=True))
    sys.stdout.write(f"before the retries {len(listed)} charges without a ride are listed\n")
    yield from (f"charge {charge} is neither on a ride nor listed" for charge in sorted(nowhere))
    yield from (f"off: {each}" for each in off if each.kind is not Kind.CHARGE_WITHOUT_RIDE)


def what_is_off() -> "list[Discrepancy]":
    from rides.reconciliation.comparing import reconcile

    now = datetime.now(UTC)
    return reconcile(now - AN_HOUR, now + AN_HOUR).discrepancies


def foreign_answers(clients: "Clients", riders: list[str]) -> Iterator[str]:
    """Yield the final answers that a key cannot have: of another card, or not what is stored."""
    from idempotency.models import FINISHED, IdempotencyKey

    stored = {
        (key.user.get_username(), key.idempotency_key): (
            key.response_code,
            bytes(key.response_body or b""),
        )
        for key in IdempotencyKey.objects.select_related("user").filter(recovery_point=FINISHED)
    }
    bad_cards = set(riders[-BAD_CARDS:])
    for booking in clients.bookings:
        own = 402 if booking.rider in bad_cards else 201
        final = [answer for answer in booking.answers if answer.is_final]
        yield from (f"{booking} has {each.status}" for each in final if each.status != own)
        last = final[-1] if final else None
        if last and stored.get((booking.rider, booking.key)) != (last.status, last.body):
            yield f"{booking.key} was answered {last}, and that is not what is stored"


if __name__ == "__main__":
    sys.exit(main())
