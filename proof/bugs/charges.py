"""Bugs of the foreign call: what is sent, under which key, and what its answer is taken for."""

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db import transaction

from idempotency.attempts import Attempt
from idempotency.phases import ForeignPhase
from idempotency.testing import Fault, Moment, after_a_loss
from proof.bookings import numbered_anew_of, restored_of
from proof.bugs import seams
from proof.bugs.planting import (
    KILLED_AFTER_THE_CHARGE,
    Bed,
    after_a_saved_failure,
    at,
    booking,
    bug,
    clock_set_right,
    declining,
    looking_up,
    looking_up_in_vain,
    of_booking,
    replace,
    rewrite,
    undisturbed,
    undoing_while_the_charge_arrives,
)
from rides import payments
from rides.operations import CreateRide
from rides.payments import asking, charging
from rides.payments.client import client
from rides.payments.shapes import Payment

UUID_OF_THE_NUMBER = (
    "lpad((SELECT last_value::text FROM idempotency_idempotencykey_id_seq), 32, '0')::uuid"
)


@bug("no_transaction_is_open_during_a_foreign_call", experiment=booking, plan=undisturbed)
def call_inside_the_transaction(bed: Bed) -> None:
    """The ride's row is locked while Stripe is asked."""
    send = seams.SEND_OR_LOOK_UP.value

    def send_with_the_ride_locked(self: Attempt, phase: Any, booking: CreateRide) -> Any:
        with transaction.atomic():
            type(booking.ride).objects.select_for_update().get(pk=booking.ride.pk)
            return send(self, phase, booking)

    replace(bed, seams.SEND_OR_LOOK_UP, send_with_the_ride_locked)


@bug(
    "the_foreign_key_never_changes",
    "the_ledger_is_that_of_the_rides",
    experiment=booking,
    plan=KILLED_AFTER_THE_CHARGE,
)
def new_foreign_key_for_each_attempt(bed: Bed) -> None:
    """A retry is sent under a key that Stripe has never seen."""
    fresh = "   SET foreign_key = gen_random_uuid(), "
    rewrite(bed, seams.TAKE_OVER_KEY, "   SET ", fresh)

    def of_this_attempt(ride: Any) -> Any:
        key = ride.idempotency_key
        return ride.foreign_key if key.attempt == 1 else key.foreign_key

    replace(bed, seams.FOREIGN_KEY_OF_A_CHARGE, of_this_attempt)


@bug("the_ledger_is_that_of_the_rides", experiment=of_booking(after_a_loss), plan=undisturbed)
def drawn_foreign_key(bed: Bed) -> None:
    """A request whose rows were lost is sent under a key that Stripe has never seen."""
    replace(bed, seams.FOREIGN_KEY_OF_A_REQUEST, lambda *request: uuid.uuid4())


@bug("a_good_card_pays_in_the_end", experiment=of_booking(restored_of), plan=undisturbed)
def foreign_key_from_the_serial_id(bed: Bed) -> None:
    """A restored database hands the number out again, and Stripe knows it as another request's."""
    rewrite(bed, seams.INSERT_KEY, "%(foreign_key)s", UUID_OF_THE_NUMBER)


@bug(
    "no_unknown_outcome_is_final",
    "the_ledger_is_that_of_the_rides",
    experiment=booking,
    plan=at(Fault.RAISE, Moment.APPLIED, "charge_rider"),
)
def final_on_timeout(bed: Bed) -> None:
    """No answer from Stripe is taken for a no."""

    def declined(error: Exception) -> Exception:
        return payments.CardDeclined("The payment did not go through.")

    replace(bed, seams.VERDICT, declined)


@bug(
    "every_client_is_answered",
    "nothing_is_left_unfinished",
    experiment=declining,
    plan=undisturbed,
)
def decline_is_never_final(bed: Bed) -> None:
    """A definite no is taken for trouble, and asked again for ever."""
    replace(bed, seams.REJECTIONS, {})


@bug("at_most_one_charge_for_a_key", experiment=looking_up, plan=undisturbed)
def resend_past_the_window(bed: Bed) -> None:
    """Stripe has forgotten the key and charges again."""
    window = CreateRide.charge_rider.window * 1000
    replace(bed, seams.WINDOW, window)


@bug("at_most_one_charge_for_a_key", experiment=clock_set_right, plan=undisturbed)
def sending_that_is_still_to_come_is_repeated(bed: Bed) -> None:
    """A clock that was ahead and is set right leaves a sending in the future, inside any window."""

    def is_inside(self: ForeignPhase, sent_at: datetime | None, now: datetime) -> bool:
        return sent_at is None or now - sent_at < self.window

    replace(bed, seams.MAY_SEND, is_inside)


@bug("at_most_one_charge_for_a_key", experiment=looking_up, plan=undisturbed)
def window_begins_anew_with_each_attempt(bed: Bed) -> None:
    """Only the latest sending is remembered, so the first one's age does not count."""
    call = seams.CALL_FOREIGN.value

    def call_as_if_for_the_first_time(self: Attempt, *phase: Any, **commit: Any) -> Any:
        self.operation.key.foreign_sent_at = None
        return call(self, *phase, **commit)

    replace(bed, seams.CALL_FOREIGN, call_as_if_for_the_first_time)


@bug("past_the_window_nothing_is_sent", experiment=looking_up_in_vain, plan=undisturbed)
def sends_again_what_it_does_not_find(bed: Bed) -> None:
    """What Stripe does not show is taken for what never was."""

    def look_up_or_send(self: Attempt, phase: Any, booking: CreateRide) -> Any:
        return booking.find_charge() or phase.method(booking)

    replace(bed, seams.SEND_OR_LOOK_UP, look_up_or_send)


@bug("no_unknown_outcome_is_final", experiment=looking_up_in_vain, plan=undisturbed)
def declined_because_not_found(bed: Bed) -> None:
    """What Stripe does not show is reported as declined."""
    find = seams.FIND_CHARGE.value

    def find_charge(self: CreateRide) -> payments.Charge:
        found = find(self)
        if found is None:
            raise payments.CardDeclined("Nothing was charged.")
        return found

    replace(bed, seams.FIND_CHARGE, find_charge)


@bug(
    "every_client_is_answered",
    "nothing_is_left_unfinished",
    experiment=looking_up_in_vain,
    plan=undisturbed,
)
def adopts_the_payment_of_another_ride(bed: Bed) -> None:
    """The rider's latest payment is taken for this ride's; the database refuses it, for ever."""

    def latest(ride: Any) -> Iterator[Payment]:
        customer = ride.user.stripe_customer_id
        listing = client().v1.payment_intents.list
        shown = asking.pages(listing, limit=1, customer=customer)
        return map(Payment.of, next(shown))

    replace(bed, seams.PAYMENTS_LOOKED_UP, latest)


@bug(
    "every_client_is_answered",
    "nothing_is_left_unfinished",
    experiment=after_a_saved_failure,
    plan=undisturbed,
)
def saved_failure_is_asked_again(bed: Bed) -> None:
    """Stripe repeats its saved error for as long as it is asked under the same key."""
    replace(bed, seams.IS_SAVED_REFUSAL, lambda error: False)


@bug(
    "a_cancelled_ride_keeps_no_money",
    experiment=undoing_while_the_charge_arrives,
    plan=undisturbed,
)
def looks_before_the_key_is_useless(bed: Bed) -> None:
    """A charge that arrives between the look and the end of its key is seen by nobody."""
    make_key_useless = seams.MAKE_KEY_USELESS.value
    seen: list[Payment] = []

    def look_and_make_key_useless(ride: Any, key: Any) -> bool:
        seen[:] = charging.payments_of(ride)
        make_key_useless(ride, key)
        return True

    replace(bed, seams.MAKE_KEY_USELESS, look_and_make_key_useless)
    replace(bed, seams.PAYMENTS_TAKEN_BACK, lambda ride: seen)


@bug("the_same_question_is_asked", experiment=of_booking(numbered_anew_of), plan=undisturbed)
def serial_id_in_what_is_sent(bed: Bed) -> None:
    """After a loss the ride has another number, and Stripe refuses the key of another question."""
    wanted = seams.WANTED.value

    def wanted_with_number(ride: Any) -> dict[str, Any]:
        return {**wanted(ride), "description": f"Charge for ride {ride.pk}"}

    replace(bed, seams.WANTED, wanted_with_number)
