"""What can happen to the world, each thing by its name. The dice are seeded, so that a run can be
repeated: the same things in the same order after the same pauses.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from django.db import connections

from idempotency.tests.ledger import Fault
from proof.chaos.world import World
from sandbox.stripe.control import ControlError

Nemesis = Callable[[World, random.Random], None]

KEYS_AGE_SECONDS = 40.0  # Stripe's 24 hours, where the window of 20 is 10 s
MOST_AT_ONCE = 3
RIDERS_THAT_PAY = 80  # the first ones of a run; the others are asked by their bank, or declined
PAUSE_SECONDS = (0.3, 1.5)
SKIPPED_SECONDS = 0.05
STALL_SECONDS = 1.5  # longer than the client waits
IN_THE_AIR_SECONDS = 0.6  # and shorter
FAULT_SECONDS = (0.5, 2.0)
FAULTS = (
    *("conflict", "rate_limit", "reset_before", "reset_after", "latency", "error_before"),
    *("error_after", "decline", "stall", "malformed_json", "hostile_decline"),
    "processing",
)
CONFIRMED = 0.6  # of the payments that wait for a bank, or for a rider at its page
REVERSED_AT_ONCE = 3
CALLS_THAT_FAIL = (3, 8)
LEDGER_FAULTS = ("ledger: error", "ledger: reset")  # those that leave an outcome open


def kill(service: str, world: World, dice: random.Random) -> None:
    world.kill(service)


def stop_api(world: World, dice: random.Random) -> None:
    """As a deploy does: it finishes or lets go what it has in hand."""
    world.stop("api")


def kill_child_of_api(world: World, dice: random.Random) -> None:
    world.kill_child("api", dice.randrange(8))


def freeze(service: str, world: World, dice: random.Random) -> None:
    """With calls in the air, so that it wakes in the middle of something."""
    world.stand_in.add_fault("latency", times=8, seconds=IN_THE_AIR_SECONDS, path="POST /v1")
    world.ending.wait(IN_THE_AIR_SECONDS / 2)
    world.freeze(service)


def restart_postgres(world: World, dice: random.Random) -> None:
    world.restart_postgres()


def switch_over(world: World, dice: random.Random) -> None:
    world.pair.switch_over()


def terminate_backends(world: World, dice: random.Random) -> None:
    world.terminate_backends(share=dice.uniform(0.2, 1.0))


def stripe_fails(kind: str, world: World, dice: random.Random) -> None:
    """For a while, in that way, a part of the calls."""
    seed, seconds = dice.randrange(1 << 30), dice.uniform(*FAULT_SECONDS)
    world.stand_in.add_fault(
        kind,
        share=dice.uniform(0.2, 0.9),
        seed=seed,
        path="POST /v1",
        seconds=STALL_SECONDS,
    )
    world.ending.wait(seconds)
    world.end_faults()  # and others with it, which is all the same to those who run into them


def stripe_forgets_keys(world: World, dice: random.Random) -> None:
    world.stand_in.prune_keys(older_than_seconds=KEYS_AGE_SECONDS)


def banks_decide(world: World, dice: random.Random) -> None:
    """What waits for a bank, or for a rider at its page, succeeds or fails now, however late."""
    for payment in world.stand_in.payment_intents()["waiting"]:
        with suppress(ControlError):  # it was withdrawn meanwhile
            world.stand_in.settle(payment, succeeds=dice.random() < CONFIRMED)
    for reversal in list(world.reversals):
        with suppress(ControlError):  # it has ended
            succeeds = dice.random() < CONFIRMED
            world.reversals[reversal] = world.stand_in.settle(reversal, succeeds=succeeds)


def refund_in_the_dashboard(world: World, dice: random.Random) -> None:
    """Somebody gives money back by hand, all of it or a part, and tells the service nothing."""
    for charge in some_charges(world, dice):
        status = dice.choice(["succeeded", "pending"])
        amount = dice.choice([None, charge["amount"] // 4])
        with suppress(ControlError):  # not so much is left of it
            world.reversals[world.stand_in.refund(charge["id"], amount=amount, status=status)] = (
                status
            )


def dispute(world: World, dice: random.Random) -> None:
    """Riders tell their bank that they have not booked."""
    for charge in some_charges(world, dice):
        world.reversals[world.stand_in.dispute(charge["id"])] = "needs_response"


def some_charges(world: World, dice: random.Random) -> list[dict[str, Any]]:
    """Return a few that nothing was given back of yet; every other one is of this moment."""
    charges = [
        charge
        for charge in world.stand_in.charges("succeeded")
        if not (charge["amount_refunded"] or charge["disputed"])
    ]
    latest = charges[-REVERSED_AT_ONCE:]
    return dice.sample(latest + charges[: len(latest)], min(REVERSED_AT_ONCE, len(latest)))


def replace_customer(world: World, dice: random.Random) -> None:
    """A rider gets another customer at Stripe, with a card that pays as the first one did."""
    from rides import payments  # only now: they import models
    from rides.models import User

    rider = f"rider-{dice.randrange(RIDERS_THAT_PAY)}@example.com"
    customer = payments.create_customer(email=rider, source="tok_visa")
    User.objects.filter(email=rider).update(stripe_customer_id=customer)
    connections.close_all()  # this thread's


def ledger_fails(fault: Fault, world: World, dice: random.Random) -> None:
    """The next few calls, in that way, whoever makes them."""
    world.ledger.faults += [fault] * dice.randint(*CALLS_THAT_FAIL)
    world.ending.wait(dice.uniform(*FAULT_SECONDS))


NEMESES: dict[str, Nemesis] = {
    **{f"kill -9 {name}": partial(kill, name) for name in ("api", "completer", "enqueuer")},
    "kill -9 worker": partial(kill, "worker"),
    "kill -9 of one of the api's workers": kill_child_of_api,
    "SIGTERM to the api": stop_api,
    **{f"freeze {name}": partial(freeze, name) for name in ("api", "completer", "worker")},
    "PostgreSQL restarted": restart_postgres,
    "PostgreSQL switched over": switch_over,
    "backends terminated": terminate_backends,
    **{f"Stripe: {kind}": partial(stripe_fails, kind) for kind in FAULTS},
    **{
        f"the ledger: {fault.name.lower()}": partial(ledger_fails, fault)
        for fault in Fault
        if fault is not Fault.PENDING  # whoever enrols pays at once, or not
    },
    "banks decide": banks_decide,
    "refunded in the dashboard": refund_in_the_dashboard,
    "disputed": dispute,
    "Stripe forgets keys": stripe_forgets_keys,
    "a rider's customer replaced": replace_customer,
}


class Schedule:
    """Lets things happen until it is told to stop: each of them before any comes again."""

    def __init__(self, names: list[str], seed: int) -> None:
        self.happened: Counter[str] = Counter()
        self.failed: list[str] = []
        self.names = names
        self._now = set(names)
        self._dice = random.Random(seed)  # noqa: S311 - repeatable, and nothing secret
        self._slots = threading.Semaphore(MOST_AT_ONCE)
        self._busy: set[str] = set()

    def run(self, world: World, stop: threading.Event) -> None:
        threads = []
        for name, pause, dice in self._deck():
            if stop.wait(pause if name in self._now else SKIPPED_SECONDS):
                break
            if name in self._busy or name not in self._now:
                continue
            self._slots.acquire()
            self._busy.add(name)
            thread = threading.Thread(target=self._let_happen, args=[name, world, dice])
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()

    def narrow(self, names: Iterable[str]) -> None:
        """From now on only these happen."""
        self._now = set(names)

    def _deck(self) -> Iterator[tuple[str, float, random.Random]]:
        while self.names:
            for name in self._dice.sample(self.names, len(self.names)):
                seed = self._dice.randrange(1 << 30)
                yield name, self._dice.uniform(*PAUSE_SECONDS), random.Random(seed)  # noqa: S311

    def _let_happen(self, name: str, world: World, dice: random.Random) -> None:
        try:
            NEMESES[name](world, dice)
            self.happened[name] += 1
        except Exception as error:
            # Two at once can be in each other's way, as when PostgreSQL is down already.
            self.failed.append(f"{name}: {error!r}")
        finally:
            self._busy.discard(name)
            self._slots.release()
