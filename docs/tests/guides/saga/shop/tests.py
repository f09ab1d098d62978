from urllib.request import urlopen

from django.contrib.auth.models import User
from django.test import Client, TransactionTestCase
from shop import agency
from shop.operations import BookTrip

from idempotency.testing import Experiment, by_turns, explore


def booked(what):
    with urlopen(agency.URL) as answer:
        return answer.read().decode().splitlines().count(what)


class Saga(TransactionTestCase):
    def explore(self, to, *invariants):
        User.objects.create_user("ann")

        def send(key):
            headers = {"Authorization": "ann", "Idempotency-Key": key}
            return Client().post("/trips", {"to": to}, "application/json", headers=headers)

        report = explore(Experiment(operation=BookTrip, send=send, invariants=invariants), by_turns)
        print(report)
        assert report.problems == []

    def test_a_room_goes_with_a_flight(self):
        def as_many_rooms_as_flights(trial):
            assert booked("room in Lisbon") == booked("flight to Lisbon")

        self.explore("Lisbon", as_many_rooms_as_flights)

    def test_without_a_flight_no_room_is_left(self):
        def no_room(trial):
            assert booked("room in Atlantis") == 0

        self.explore("Atlantis", no_room)
