"""A saga: a room and then a flight are booked at the provider, and what stands is taken back where
the trip is not to be.
"""

from typing import Any
from uuid import UUID

from django.contrib.sessions.models import Session
from django.urls import path
from django.utils import timezone

from idempotency import (
    STARTED,
    NeedsReview,
    Operation,
    RecoveryPoint,
    Response,
    Undo,
    atomic_phase,
    foreign_phase,
)
from idempotency.tests import ledger
from idempotency.tests.bookshop import WINDOW

WORST_CASE = WINDOW / 1_000


def cancel(what: str, key: UUID) -> dict[str, str]:
    return {"what": what, "payment": str(ledger.give_back(key=key))}


def note(text: str, of: Any) -> None:
    Session.objects.create(session_key=f"{text} {of}"[:40], expire_date=timezone.now())


def notes() -> list[str]:
    return [row.session_key.partition(" ")[0] for row in Session.objects.order_by("expire_date")]


class BookTrip(Operation):
    ends: str = "well"

    @foreign_phase(STARTED, window=WINDOW, worst_case=WORST_CASE)
    def book_room(self) -> Any:
        return ledger.pay(100, key=self.foreign_key)

    @book_room.commit
    def room_booked(self, payment: Any) -> RecoveryPoint:
        note("room", self.key.foreign_key)
        return RecoveryPoint("room_booked")

    @book_room.undo
    def cancel_room(self) -> dict[str, str]:
        return cancel("room", self.foreign_key_at(STARTED))

    @foreign_phase("room_booked", window=WINDOW, worst_case=WORST_CASE)
    def book_flight(self) -> Any:
        return ledger.pay(200, key=self.foreign_key)

    @book_flight.rejected(ledger.Declined)
    def flight_is_full(self, error: ledger.Declined) -> Undo:
        note("full", self.key.foreign_key)
        return Undo()

    @book_flight.commit
    def flight_booked(self, payment: Any) -> RecoveryPoint:
        note("flight", self.key.foreign_key)
        return RecoveryPoint("flight_booked")

    @book_flight.undo
    def cancel_flight(self) -> dict[str, str]:
        return cancel("flight", self.foreign_key_at("room_booked"))

    @cancel_flight.commit
    def flight_cancelled(self, account: dict[str, str]) -> None:
        note("no-flight", self.key.foreign_key)

    @foreign_phase("flight_booked", window=WINDOW, worst_case=WORST_CASE)
    def insure(self) -> Any:
        if self.ends == "before a person":
            raise NeedsReview("Nobody insures this.")
        return ledger.pay(300, key=self.foreign_key)

    @insure.commit
    def insured(self, payment: Any) -> RecoveryPoint:
        return RecoveryPoint("insured")

    @atomic_phase("insured")
    def confirm(self) -> Response | Undo:
        return Undo() if self.ends == "in regret" else Response(201, {"message": "Bon voyage."})

    def cancelled(self, account: dict[str, str]) -> Response:
        note("cancelled", self.key.foreign_key)
        return Response.error(409, f"Cancelled, {account['what']} last.", code="cancelled")


urlpatterns = [path("trips", BookTrip.as_view())]
