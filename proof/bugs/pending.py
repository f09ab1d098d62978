"""Bugs of what is under way at Stripe: taken for an answer, forgotten, or left open."""

from typing import Any

from idempotency import leases
from idempotency.attempts import Attempt
from idempotency.commits import Step
from idempotency.phases import Pending, Response
from idempotency.testing import Fault, Moment
from proof.bugs import seams
from proof.bugs.planting import (
    Bed,
    at,
    bug,
    confirmed,
    confirming,
    declining,
    never_confirmed,
    replace,
    undisturbed,
)
from rides import payments
from rides.operations import CreateRide


@bug("no_unknown_outcome_is_final", experiment=confirming, plan=undisturbed)
def pending_is_taken_for_an_answer(bed: Bed) -> None:
    """What the client is told meanwhile finishes the request."""

    def finish(self: Attempt, phase: Any, pending: Pending, entry: Any) -> Any:
        answer = Response(202, pending.answer)
        return self.commit(Step("wait", lambda _: answer, phase), entry)

    replace(bed, seams.WAIT, finish)


@bug(
    "what_is_pending_is_kept_until_it_ends",
    experiment=confirmed,
    plan=at(Fault.RAISE, Moment.BEFORE, "follow_payment"),
)
def pending_is_forgotten_by_a_failure(bed: Bed) -> None:
    """A question that fails leaves nothing by which the thing could be asked about again."""

    def without_it(**progress: Any) -> leases.Progress:
        return leases.Progress(**{**progress, "keeps_pending": False})

    replace(bed, seams.PROGRESS_OF_A_FAILURE, without_it)


@bug("a_refusal_takes_no_money", experiment=never_confirmed, plan=undisturbed)
def given_up_without_being_withdrawn(bed: Bed) -> None:
    """The request is refused, and the rider may still confirm the payment."""

    def refuse(self: CreateRide, payment_id: str) -> None:
        raise payments.CardDeclined("The payment was not confirmed in time.")

    replace(bed, seams.WITHDRAW_PAYMENT, refuse)


@bug("a_refusal_takes_no_money", experiment=declining, plan=undisturbed)
def refusal_leaves_its_payment_open(bed: Bed) -> None:
    """Another card could still pay what the rider was told is refused."""

    def refuse(self: CreateRide, error: payments.CardDeclined) -> Response:
        return Response.error(402, str(error), code="card_declined")

    replace(bed, seams.CARD_DECLINED, refuse)
