"""A bookshop: the operations, the job and the URLs that these tests run the app with.

It stands for any project. So that the tests add no model, an order is a row of Django's session
table, under its idempotency key's own foreign key, and the audit trail is the admin's log.
"""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django import forms
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.http import HttpRequest
from django.urls import path
from django.utils import timezone

from idempotency import (
    SERIALIZABLE,
    STARTED,
    Operation,
    RecoveryPoint,
    Response,
    atomic_phase,
    foreign_phase,
    stage_job,
)
from idempotency.claims import NewKey
from idempotency.foreign_keys import phase_key
from idempotency.models import IdempotencyKey
from idempotency.support.compat import task
from idempotency.tests import ledger

ORDERED = "ordered"
PAID = "paid"
WINDOW = timedelta(hours=20)
NAMESPACE = UUID("6f1d2f0e-52c4-4a7e-9b1c-7d3a90e4c815")
"""What the bookshop's foreign keys are derived from, in its processes too; as in the settings of
the service, whose test database keeps it.
"""


class Mishap(Exception):
    """A phase fails, in a way that nobody expected."""


class Death(SystemExit):
    """The process ends at this instruction: no error path runs, as with a kill."""


class OrderForm(forms.Form):
    title = forms.CharField(max_length=100)
    price_cents = forms.IntegerField(min_value=1)
    discount = forms.DecimalField(required=False, min_value=0, max_digits=4, decimal_places=2)
    gift = forms.BooleanField(required=False)
    fails_in = forms.CharField(required=False)
    dies_in = forms.CharField(required=False)


class PlaceOrder(Operation):
    """Order a book and pay for it: two tables written, a foreign call, a job, an answer."""

    params_form = OrderForm
    transient_fields = ("fails_in", "dies_in")

    @property
    def order_id(self) -> str:
        return self.key.foreign_key.hex

    @atomic_phase(STARTED)
    def place_order(self) -> RecoveryPoint:
        Session.objects.create(
            session_key=self.order_id,
            session_data=json.dumps({"title": self.params["title"]}),
            expire_date=timezone.now(),
        )
        audit("order.placed", self.user.pk)
        self.end_where_asked("place_order")
        return RecoveryPoint(ORDERED)

    @foreign_phase(ORDERED, window=WINDOW, worst_case=timedelta(seconds=ledger.PATIENCE_SECONDS))
    def pay(self) -> str:
        payment = ledger.pay(self.params["price_cents"], key=self.foreign_key)
        self.end_where_asked("pay")
        return payment

    @pay.lookup
    def find_payment(self) -> str | None:
        return ledger.find_payment(key=self.foreign_key)

    @pay.rejected(ledger.Declined)
    def payment_declined(self, error: ledger.Declined) -> Response:
        audit("order.declined", self.user.pk)
        return Response.error(402, str(error), code="payment_declined")

    @pay.commit
    def record_payment(self, payment: str) -> RecoveryPoint:
        order = {"title": self.params["title"], "payment": payment}
        Session.objects.filter(pk=self.order_id).update(session_data=json.dumps(order))
        self.end_where_asked("record_payment")
        return RecoveryPoint(PAID)

    @atomic_phase(PAID)
    def confirm(self) -> Response:
        stage_job(send_confirmation, title=self.params["title"], user_id=self.user.pk)
        self.end_where_asked("confirm")
        return Response(201, {"order": self.order_id, "says": "Grüße! 📚"})

    def end_where_asked(self, phase: str) -> None:
        if self.transient.get("fails_in") == phase:
            raise Mishap(f"in {phase}")
        if self.transient.get("dies_in") == phase:
            raise Death


class PlaceOrderSerializably(PlaceOrder):
    """The same at the strictest isolation level."""

    isolation = SERIALIZABLE


@task()
def send_confirmation(title: str, user_id: int) -> None:
    audit("order.confirmed", user_id)
    ledger.announce(title)


def audit(what: str, user_id: int) -> None:
    LogEntry.objects.create(user_id=user_id, action_flag=ADDITION, object_repr=what)


# What a test looks at.


def orders() -> list[dict[str, Any]]:
    return [json.loads(row.session_data) for row in Session.objects.order_by("expire_date")]


def audit_trail() -> list[str]:
    return list(LogEntry.objects.order_by("id").values_list("object_repr", flat=True))


# How a project mounts it.


def customer_of(request: HttpRequest) -> Any:
    """The customer whose number is the `Authorization` header: one statement."""
    number = request.headers.get("Authorization", "")
    return get_user_model().objects.filter(pk=number).first() if number.isdecimal() else None


urlpatterns = [
    path("orders", PlaceOrder.as_view()),
    path("serializable/orders", PlaceOrderSerializably.as_view()),
]


def key_sent_for(row: IdempotencyKey) -> UUID:
    """The key under which an order is paid for."""
    return phase_key(row.foreign_key, PlaceOrder.pay)


def counted(completed):
    """How many keys of a completer's batch have their final answer, and how many do not."""
    return completed.counts["succeeded"], completed.counts["failed"]


def new_key(user_id: Any, idempotency_key: str, **fields: Any) -> NewKey:
    """A request that passed its checks: an order, unless its fields say otherwise."""
    order: dict[str, Any] = {
        "operation": "idempotency.PlaceOrder",
        "path_kwargs": {},
        "foreign_key": uuid4(),
        "request_method": "POST",
        "request_path": "/orders",
        "request_params": {},
        "fingerprint": "",
        "origin_ip": None,
    }
    return NewKey(user_id=user_id, idempotency_key=idempotency_key, **{**order, **fields})
