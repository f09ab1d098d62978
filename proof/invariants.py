"""What must hold of every booking once all is at rest, whatever was killed, lost or repeated.

All of the promises in one place: those of the core, which hold for any operation, and the ride's
own, which compare our tables with Stripe's ledger. Each is a function of a trial that raises
`AssertionError`; its name is what a report says.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core import mail

from idempotency import conf
from idempotency.models import IS_FOR_NOW, JobDelivery, StagedJob
from idempotency.testing import INVARIANTS as OF_ANY_OPERATION
from idempotency.testing import Fault, Trial
from rides.models import AuditRecord, Refund, Ride
from rides.operations import FARE_CENTS
from sandbox.stripe.control import StandIn

Invariant = Callable[[Trial], None]

DEFINITE = (201, 402)
"""The final answers to a valid booking: it is paid for, or the card was declined."""


def at_most_one_charge_for_a_key(trial: Trial) -> None:
    taken = succeeded(charges_of(trial))
    assert len(taken) <= 1, f"{len(taken)} charges: {[charge['id'] for charge in taken]}"


def a_booked_ride_is_paid_for(trial: Trial) -> None:
    """Exactly one charge succeeded where the rider was told so, and the ride names it."""
    if status_of(trial) == 201:
        taken = [charge["id"] for charge in succeeded(charges_of(trial))]
        named = [ride.stripe_charge_id for ride in rides_of(trial)]
        assert taken == named, f"charges {taken}, rides name {named}"
        assert len(taken) == 1, f"{len(taken)} charges"


def no_unknown_outcome_is_final(trial: Trial) -> None:
    """Final is "paid", or "declined" where Stripe's ledger says that nothing was taken."""
    if not trial.final_answers:
        return
    charges = charges_of(trial)
    assert status_of(trial) in DEFINITE, f"a final {status_of(trial)}"
    if status_of(trial) == 402:
        assert payments_of(trial), "declined, says the answer; Stripe was never asked"
        assert not succeeded(charges), "declined, says the answer; Stripe took the money"


def a_refusal_takes_no_money(trial: Trial) -> None:
    """Nor may it later: whoever is told that they were refused can't be charged any more."""
    if status_of(trial) == 402:
        assert not succeeded(charges_of(trial)), "refused, and Stripe took the money"
        left = set(payments_of(trial)) - {"succeeded", "canceled"}
        assert not left, f"refused, and still open at Stripe: {left}"


def a_good_card_pays_in_the_end(trial: Trial) -> None:
    """Where nothing was wrong but what was done to the service, the ride is booked."""
    assert status_of(trial) == 201, f"{status_of(trial) or 'no answer'}"


def no_payment_is_on_a_foreign_ride(trial: Trial) -> None:
    """Each payment that a ride names was made by the ride's own rider."""
    paid = {
        charge["id"]: charge["customer"]
        for charges in ledger(trial.at_rest).values()
        for charge in charges
    }
    for ride in Ride.objects.filter(stripe_charge_id__isnull=False).select_related("user"):
        payer = paid.get(str(ride.stripe_charge_id))
        assert payer == ride.user.stripe_customer_id, f"ride {ride.pk} is paid for by {payer}"


def the_same_question_is_asked(trial: Trial) -> None:
    """Stripe knows what it is asked again, and refuses nothing as another question's key."""
    refused = StandIn(settings.STRIPE_API_BASE).calls()["mismatches"]
    assert refused == 0, f"{refused} times another question under the same key"


def past_the_window_nothing_is_sent(trial: Trial) -> None:
    """Stripe may have forgotten the key, so a charge that it does not show is never sent again."""
    assert not charges_of(trial), "sent again, and nobody knows what the first one did"


def a_cancelled_ride_keeps_no_money(trial: Trial) -> None:
    """Whoever is told that a ride was cancelled has its money back, however late it was taken."""
    left = {
        ride.pk: sum(
            charge["amount"] - charge["amount_refunded"] for charge in succeeded(charges_of(trial))
        )
        for ride in rides_of(trial)
        if ride.cancelled_at
    }
    assert not any(left.values()), f"left with us, by ride: {left}"


def a_refund_that_was_told_of_is_recorded(trial: Trial) -> None:
    """What Stripe has refunded stands with the ride, once."""
    for ride in rides_of(trial):
        refunded = sum(charge["amount_refunded"] for charge in charges_of(trial))
        recorded = sum(Refund.objects.filter(ride=ride).values_list("amount_cents", flat=True))
        assert recorded == refunded, f"{recorded} of {refunded} recorded"


def one_ride_for_a_key(trial: Trial) -> None:
    count = len(rides_of(trial))
    assert count == 1, f"{count} rides"


def one_receipt_for_a_booked_ride(trial: Trial) -> None:
    """In effect: the records that came with it. And none where nothing was booked."""
    wanted = 1 if status_of(trial) == 201 else 0
    sent = audited(trial, AuditRecord.Action.RECEIPT_SENT)
    assert sent == wanted, f"{sent} receipts"


def one_mail_where_nothing_was_struck(trial: Trial) -> None:
    """E-mail is at least once; but as long as nothing goes wrong it is once."""
    if trial.fault is Fault.NONE:
        wanted = {f"<receipt.{charge['id']}@rocketrides>" for charge in charges_of(trial)}
        sent = [m for m in mail.outbox if m.extra_headers["Message-ID"] in wanted]
        assert len(sent) == 1, f"{len(sent)} mails"


def no_job_is_left(trial: Trial) -> None:
    staged = StagedJob.objects.filter(IS_FOR_NOW).count()
    delivered = JobDelivery.objects.count()
    assert (staged, delivered) == (0, 0), f"{staged} staged, {delivered} delivered"


def one_audit_record_for_a_transition(trial: Trial) -> None:
    created = audited(trial, AuditRecord.Action.RIDE_CREATED)
    assert created == 1, f"{created} records of one ride"
    records = AuditRecord.objects.filter(action=AuditRecord.Action.RIDE_CREATED)
    assert records.count() == Ride.objects.count(), "a record of a ride that there never was"


def the_ledger_is_that_of_the_rides(trial: Trial) -> None:
    """The same charges on both sides, and the same sum: what an auditor would reconcile."""
    is_paid = Ride.objects.filter(stripe_charge_id__isnull=False)
    paid = dict(is_paid.values_list("stripe_charge_id", "amount_cents"))
    unknown = in_review()
    # Under the foreign key of one in review an earlier ride may have been paid for: a client's key
    # that was used again after its tombstone.
    taken = {
        charge["id"]: charge["amount"]
        for key, charges in ledger(trial.at_rest).items()
        for charge in succeeded(charges)
        if key not in unknown or charge["id"] in paid
    }
    assert taken.keys() == paid.keys(), f"on one side only: {taken.keys() ^ paid.keys()}"
    assert sum(taken.values()) == sum(paid.values()) == len(paid) * FARE_CENTS


OF_A_KEY: tuple[Invariant, ...] = (
    at_most_one_charge_for_a_key,
    a_booked_ride_is_paid_for,
    no_unknown_outcome_is_final,
    a_refusal_takes_no_money,
    one_ride_for_a_key,
    one_receipt_for_a_booked_ride,
    one_audit_record_for_a_transition,
)

OF_ALL_OF_THEM: tuple[Invariant, ...] = (no_job_is_left, the_ledger_is_that_of_the_rides)

OF_A_BOOKING: tuple[Invariant, ...] = (*OF_A_KEY, *OF_ALL_OF_THEM)

EVERY_INVARIANT: tuple[Invariant, ...] = (
    *OF_ANY_OPERATION,
    *OF_A_BOOKING,
    a_cancelled_ride_keeps_no_money,
    a_good_card_pays_in_the_end,
    a_refund_that_was_told_of_is_recorded,
    no_payment_is_on_a_foreign_ride,
    one_mail_where_nothing_was_struck,
    past_the_window_nothing_is_sent,
    the_same_question_is_asked,
)


# What they look at.


@lru_cache(maxsize=1)
def ledger(at_rest: object) -> dict[str, list[dict[str, Any]]]:
    """The charges attempted at the stand-in that the settings lead to, by key; read once."""
    charges: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for charge in StandIn(settings.STRIPE_API_BASE).charges():
        charges[charge["metadata"]["foreign_key"]].append(charge)
    return charges


def charges_of(trial: Trial) -> list[dict[str, Any]]:
    """The charges attempted for the trial's rides, and not for one that the same key booked long
    before.
    """
    charges = ledger(trial.at_rest)
    return [
        charge
        for ride in rides_of(trial)
        for charge in charges.get(str(ride.foreign_key), [])
        if charge["created"] >= (ride.created_at - conf.current().lookup_span).timestamp()
    ]


@lru_cache(maxsize=1)
def statuses_at_stripe(at_rest: object) -> dict[str, list[str]]:
    """The statuses of the payments at the stand-in, by key; read once."""
    statuses: dict[str, list[str]] = StandIn(settings.STRIPE_API_BASE).payment_intents()["by_key"]
    return statuses


def payments_of(trial: Trial) -> list[str]:
    """The statuses of the payments for the trial's rides."""
    statuses = statuses_at_stripe(trial.at_rest)
    return [
        status for ride in rides_of(trial) for status in statuses.get(str(ride.foreign_key), [])
    ]


def in_review() -> set[str]:
    """The foreign keys of the rides of which a person has to say what was paid."""
    rides = Ride.objects.filter(idempotency_key__needs_review_at__isnull=False)
    return {str(key) for key in rides.values_list("foreign_key", flat=True)}


def succeeded(charges: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [charge for charge in charges if charge["status"] == "succeeded"]


@lru_cache(maxsize=1)
def rides_of(trial: Trial) -> list[Ride]:
    return list(Ride.objects.filter(idempotency_key__idempotency_key=trial.idempotency_key))


def status_of(trial: Trial) -> int | None:
    """The outcome: as a client was told it, or as it is stored where no client has asked."""
    if trial.final_answer:
        return trial.final_answer.status
    return trial.key.response_code if trial.key else None


def audited(trial: Trial, action: AuditRecord.Action) -> int:
    rides = [ride.pk for ride in rides_of(trial)]
    records = AuditRecord.objects.filter(resource_type="ride", resource_id__in=rides)
    return records.filter(action=action).count()
