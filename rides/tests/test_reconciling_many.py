"""Reconciling a long ledger: it is read a page at a time, and never held whole."""

import os
import time
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rides.models import Ride, User
from rides.tests.factories import RideFactory
from rides.tests.processes import running_command
from sandbox.stripe.control import StandIn
from sandbox.stripe.ledger import Ledger
from sandbox.stripe.process import running_stand_in
from sandbox.stripe.store import open_store

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]


def test_ten_thousand_charges_take_no_more_memory_than_a_few_hundred(rider, tmp_path):
    peak_kilobytes = {}
    for count in (500, 10_000):
        Ride.objects.all().delete()
        with (
            ledger_of(count, rider, tmp_path / str(count)) as stand_in,
            running_command("reconcile", stand_in=stand_in, folder=tmp_path) as command,
        ):
            _, status, usage = os.wait4(command.process.pid, 0)
            peak_kilobytes[count] = usage.ru_maxrss
            said = (
                f"charges={count} rides={count} open_requests=0 others=0 "
                "refunds=0 disputes=0 open_rows=0 discrepancies=0"
            )
            assert (status, command.log.read_text().strip()) == (0, said)

    assert peak_kilobytes[10_000] < peak_kilobytes[500] + 32 * 1024


def ledger_of(count: int, rider: User, folder: Path) -> AbstractContextManager[StandIn]:
    """A stand-in that starts with so many charges, whose rides are in the database."""
    an_hour_ago = int(time.time()) - 3600
    with closing(open_store(folder)) as store:
        ledger = Ledger(store)
        # A few at a time, for a process that is started counts the memory of its parent as its own.
        for first in range(0, count, 500):
            rides = Ride.objects.bulk_create(
                RideFactory.build(
                    user=rider,
                    idempotency_key=None,
                    created_at=datetime.fromtimestamp(an_hour_ago + n // 10, UTC),
                    stripe_charge_id=f"ch_{n}",
                    stripe_payment_intent_id=f"pi_{n}",
                )
                for n in range(first, min(first + 500, count))
            )
            for ride in rides:
                ledger.put(charge_of(ride, an_hour_ago))
            ledger.commit(None)
    return running_stand_in(folder)


def charge_of(ride: Ride, created: int) -> dict[str, object]:
    return {
        "id": ride.stripe_charge_id,
        "object": "charge",
        "amount": ride.amount_cents,
        "amount_captured": ride.amount_cents,
        "created": created,
        "currency": ride.currency,
        "customer": ride.stripe_customer_id,
        "metadata": {"foreign_key": str(ride.foreign_key)},
        "status": "succeeded",
    }
