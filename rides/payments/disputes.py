"""Disputes at Stripe: a rider's bank asks for a charge's money back, and decides about it."""

from dataclasses import dataclass
from typing import Any

from rides.payments.client import client
from rides.payments.reversals import Reversal
from rides.payments.statuses import DISPUTES


@dataclass(frozen=True, kw_only=True, slots=True)
class Dispute(Reversal):
    """What the bank asks for; its outcome says whose the money is."""

    KIND = "dispute"
    STATUSES = DISPUTES

    @classmethod
    def service(cls) -> Any:
        return client().v1.disputes
