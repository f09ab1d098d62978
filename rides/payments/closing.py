"""Closing the payment that a refusal leaves behind: while it is open, it could still be paid."""

from idempotency.exceptions import Indeterminate
from rides.models import Ride
from rides.payments.asking import cancel, judging
from rides.payments.charging import read_payment
from rides.payments.keys import foreign_key_of
from rides.payments.refunds import Refund, refund_rest, refunds_of


def close_payment(ride: Ride, payment_id: str) -> Refund | None:
    """Cancel a payment; where it was paid before, give the money back. It may be called again.

    Returns: the refund, where there had to be one.

    Raises: Indeterminate, to be called again; NeedsReview.
    """
    with judging():
        cancel(payment_id)
    payment = read_payment(payment_id)
    if payment.status == "canceled":
        return None
    if payment.status != "succeeded":
        raise Indeterminate("The payment can't be canceled yet.")
    if refunds := refunds_of(payment_id):
        return refunds[0]
    with judging():
        return refund_rest(payment, f"{foreign_key_of(ride)}:close:{payment_id}")
