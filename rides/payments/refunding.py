"""Refunding a charge that no ride has, as a loss of rows leaves them: one, by a person's word."""

from stripe.params import RefundCreateParams

from idempotency.foreign_keys import installation_mark
from rides.payments.asking import judging
from rides.payments.refunds import Refund, make_refund
from rides.payments.shapes import LedgerCharge, unexpected
from rides.payments.statuses import Outcome


def refund_charge(charge: LedgerCharge) -> Refund:
    """Refund what is left of a charge, once however often it is asked for.

    Raises: Indeterminate, to be asked for again; NeedsReview.
    """
    wanted: RefundCreateParams = {
        "charge": charge.id,
        "reason": "requested_by_customer",
        "metadata": charge.metadata,
    }
    with judging():
        refund = make_refund(wanted, f"{installation_mark()}:refund:{charge.id}")
    if refund.outcome is Outcome.REFUSED:
        raise unexpected(
            "The payment processor could not refund the charge.",
            refund=refund.id,
            status=refund.status,
            charge=charge.id,
        )
    return refund
