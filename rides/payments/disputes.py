"""Disputes at Stripe: a rider's bank asks for a charge's money back, and decides about it."""

from dataclasses import dataclass
from typing import Any

from rides.payments.asking import pages, refuse_to_begin_after
from rides.payments.client import client
from rides.payments.reversals import Reversal
from rides.payments.statuses import DISPUTES, Outcome

PAGE = 10  # a charge has one or two


@dataclass(frozen=True, kw_only=True, slots=True)
class Dispute(Reversal):
    """What the bank asks for; its outcome says whose the money is."""

    KIND = "dispute"
    STATUSES = DISPUTES

    @classmethod
    def service(cls) -> Any:
        return client().v1.disputes


def are_won(charge_id: str, *, last_call_at: float) -> bool:
    """Say whether each dispute of a disputed charge has ended with the money with us.

    The charge does not say so: its `disputed` stays true whatever becomes of them (Stripe's API
    reference, "The Charge object"). A list that shows none is no such end.

    Raises: Indeterminate, NeedsReview.
    """
    refuse_to_begin_after(last_call_at)
    page = next(pages(client().v1.disputes.list, limit=PAGE, charge=charge_id))
    ends = {Dispute.of(each).outcome for each in page}
    return page.is_last and ends == {Outcome.PAID}
