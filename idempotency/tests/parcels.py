"""A workflow of two durable operations: who checks out has a parcel sent, each step once."""

from typing import Any

from django import forms
from django.contrib.sessions.models import Session
from django.urls import path
from django.utils import timezone

from idempotency import STARTED, Operation, Response, atomic_phase, foreign_phase, stage_operation
from idempotency.tests import ledger
from idempotency.tests.bookshop import WINDOW


class ParcelForm(forms.Form):
    of = forms.CharField()
    grams = forms.IntegerField(min_value=1)


class SendParcel(Operation):
    """Asks the carrier, whose key is the parcel's own."""

    params_form = ParcelForm

    @foreign_phase(STARTED, window=WINDOW, worst_case=WINDOW / 1_000)
    def ask_carrier(self) -> Any:
        return ledger.pay(self.params["grams"], key=self.foreign_key)

    @ask_carrier.commit
    def note(self, number: Any) -> Response:
        Session.objects.create(
            session_key=f"parcel of {self.params['of']}"[:40],
            session_data=str(self.user.pk),
            expire_date=timezone.now(),
        )
        return Response(201, {"parcel": str(number)})


class CheckOut(Operation):
    params: Any
    staged: dict[str, Any] = {}
    """What a test has staged in place of the usual."""

    @atomic_phase(STARTED)
    def check_out(self) -> Response:
        name = str(self.key.foreign_key)
        Session.objects.create(session_key=name, expire_date=timezone.now())
        usual = {"key": f"parcel-of-{name}", "params": {"of": name[:20], "grams": 500}}
        stage_operation(SendParcel, **{**usual, **self.staged})
        return Response(202, {"message": "It will be sent."})


urlpatterns = [path("check-out", CheckOut.as_view()), path("parcels", SendParcel.as_view())]


def parcels() -> list[Session]:
    return list(Session.objects.filter(session_key__startswith="parcel of"))
