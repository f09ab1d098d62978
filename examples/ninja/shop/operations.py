from datetime import timedelta

from idempotency import (
    STARTED,
    Operation,
    RecoveryPoint,
    Response,
    atomic_phase,
    foreign_phase,
)

from shop import till
from shop.models import Order
from shop.schemas import OrderIn

PRICE_CENTS = 900


class PlaceOrder(Operation):
    """Take an order, and have it paid at the till."""

    params_form = OrderIn

    @atomic_phase(STARTED)
    def create_order(self):
        Order.objects.create(key=self.key, user=self.user, **self.params)
        return RecoveryPoint("order_created")

    @foreign_phase(
        "order_created",
        window=timedelta(hours=20),
        worst_case=timedelta(seconds=2 * till.TIMEOUT_SECONDS),
    )
    def pay(self):
        return till.pay(self.params["copies"] * PRICE_CENTS, key=self.foreign_key)

    @pay.rejected(till.Declined)
    def declined(self, error):
        body = {"code": "declined", "message": "The card was declined.", "retryable": False}
        return Response(402, body)

    @pay.commit
    def record_payment(self, payment):
        Order.objects.filter(key=self.key).update(payment=payment)
        return Response(201, {"message": "Thank you.", "payment": payment})
