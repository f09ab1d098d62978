from datetime import timedelta
from functools import cached_property

from django import forms
from idempotency import (
    STARTED,
    Operation,
    Pending,
    RecoveryPoint,
    Response,
    Undo,
    atomic_phase,
    foreign_phase,
)

from hotel import partners
from hotel.models import Room, Trip

WORST_CASE = timedelta(seconds=2 * partners.TIMEOUT_SECONDS)


class TripForm(forms.Form):
    room = forms.ModelChoiceField(Room.objects.all(), to_field_name="name")
    flight = forms.CharField(max_length=10)


class BookTrip(Operation):
    """Book a room, and then a flight. Where there is no flight, the room is given back."""

    params_form = TripForm

    @atomic_phase(STARTED)
    def begin_trip(self):
        Trip.objects.create(key=self.key, guest=self.user, **self.params)
        return RecoveryPoint("begun")

    # The partner for rooms recognises an idempotency key for a day.

    @foreign_phase("begun", window=timedelta(hours=20), worst_case=WORST_CASE, loads=["trip"])
    def book_room(self):
        return partners.book_room(self.trip.room.name, key=self.foreign_key)

    @book_room.rejected(partners.Refused)
    def no_room(self, error):
        self.end_trip(status="refused")
        return Response.error(409, "This room cannot be had.", code="no_room")

    @book_room.commit
    def room_booked(self, booking):
        Trip.objects.filter(key=self.key).update(room_booking=booking)
        return RecoveryPoint("room_booked")

    @book_room.undo
    def cancel_room(self):
        partners.cancel_room(key=self.foreign_key_at("begun"))

    # The partner for flights recognises none: each call buys a ticket. So it is called once, then
    # asked by our reference; a call may still be on its way, so "no ticket" is no answer yet.

    @foreign_phase("room_booked", window=timedelta(0), worst_case=WORST_CASE, loads=["trip"])
    def buy_ticket(self):
        return partners.buy_ticket(self.trip.flight, reference=self.foreign_key)

    @buy_ticket.lookup
    def find_ticket(self):
        return self.follow_ticket(str(self.foreign_key))

    @buy_ticket.follow
    def follow_ticket(self, reference):
        return partners.find_ticket(reference=reference) or Pending(
            reference,
            {"message": "The airline has not confirmed the flight yet."},
            ask_again_in=timedelta(seconds=30),
            gives_up_after=timedelta(minutes=5),
        )

    @buy_ticket.withdraw
    def void_reference(self, reference):
        partners.void_reference(reference=reference)
        raise partners.Refused

    @buy_ticket.undo  # where a person decides so
    def void_ticket(self):
        partners.void_reference(reference=self.foreign_key_at("room_booked"))

    @buy_ticket.rejected(partners.Refused)
    def no_flight(self, error):
        return Undo()

    @buy_ticket.commit
    def ticket_bought(self, ticket):
        self.end_trip(status="booked", ticket=ticket)
        return Response(201, {"message": "Have a good trip.", "ticket": ticket})

    def cancelled(self, account):
        self.end_trip(status="cancelled")
        return Response.error(
            409, "This trip cannot be had; nothing of it is booked.", code="cancelled"
        )

    @cached_property
    def trip(self):
        return Trip.objects.select_related("room").get(key=self.key)

    def end_trip(self, **fields):
        Trip.objects.filter(key=self.key).update(**fields)
