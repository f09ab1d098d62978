from datetime import timedelta

from django import forms
from shop import ledger
from shop.models import Account, Order
from shop.tasks import write_receipt

from idempotency import (
    STARTED,
    Operation,
    RecoveryPoint,
    Response,
    atomic_phase,
    foreign_phase,
    stage_job,
)


class OrderForm(forms.Form):
    book = forms.CharField(max_length=100)
    giver = forms.ModelChoiceField(Account.objects.all(), to_field_name="name", required=False)


class PlaceOrder(Operation):
    params_form = OrderForm

    @atomic_phase(STARTED)
    def create_order(self):
        account = self.params["giver"] or self.user
        Order.objects.create(key=self.key, account=account, book=self.params["book"])
        return RecoveryPoint("ordered")

    @foreign_phase(
        "ordered",
        window=timedelta(hours=20),
        memory=timedelta(hours=24),
        worst_case=timedelta(seconds=20),
    )
    def pay(self):
        Order.objects.get(key=self.key)  # what the phase before has committed is there
        return ledger.pay(self.foreign_key)

    @pay.lookup
    def find_payment(self):
        return ledger.find_payment(self.foreign_key)

    @pay.commit
    def record_payment(self, payment_id):
        order = Order.objects.get(key=self.key)
        order.payment_id = payment_id
        order.save()
        stage_job(write_receipt, order.pk)
        return Response(201, {"order": order.pk, "account": order.account.name})
