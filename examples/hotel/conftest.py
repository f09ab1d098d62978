"""The partners and the hotel's own server, as processes; and a guest."""

import os
import uuid
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from django.db import connection
from psycopg2.extensions import make_dsn

from hotel import partners as client
from hotel.models import Guest, Room
from tests.processes import Process, ask, free_port

pytest_plugins = ["idempotency.testing.pytest_plugin"]


class Partners:
    """What was booked at the two partners, and how long they take to answer."""

    def __init__(self, rooms, flights):
        self.rooms, self.flights = rooms, flights

    def booked(self):
        bookings = ask(f"{self.rooms}/ledger").body
        return [each["id"] for each in bookings if each["status"] == "booked"]

    def sold(self):
        return [each["id"] for each in ask(f"{self.flights}/ledger").body]

    def ordered(self):
        """Return how many tickets were asked for."""
        return ask(f"{self.flights}/pace").body["ordered"]

    def are_slow(self, *, rooms=None, flights=None):
        """Have each take its time, as a pace says: `{"before": 5}`, or `{"after": 5}`."""
        at_once = {"before": 0, "after": 0}
        ask(f"{self.rooms}/pace", "PUT", rooms or at_once)
        ask(f"{self.flights}/pace", "PUT", flights or at_once)

    @contextmanager
    def losing_answers(self):
        """Have a call be carried out, and its answer never arrive."""

        def hang_up(*call, urlopen=client.urlopen, **options):
            urlopen(*call, **options).close()
            raise ConnectionResetError

        with patch.object(client, "urlopen", hang_up):
            yield


@pytest.fixture
def partners(settings):
    flights = free_port()
    with Process(f"partner_servers.py {{port}} {flights}") as rooms:
        settings.ROOMS_URL, settings.FLIGHTS_URL = rooms.url, f"http://127.0.0.1:{flights}"
        yield Partners(settings.ROOMS_URL, settings.FLIGHTS_URL)


@pytest.fixture
def guest(transactional_db):
    Room.objects.create(name="Garden")
    Room.objects.create(name="Attic")
    return Guest.objects.create(username="ann")


@pytest.fixture
def headers(guest):
    return {"Authorization": f"Bearer {guest.token}", "Idempotency-Key": str(uuid.uuid4())}


@pytest.fixture
def server(guest, partners):
    """The hotel, as it is started in production, with the test's database."""
    environment = {
        "DATABASE_URL": make_dsn(
            os.environ["DATABASE_URL"], dbname=connection.settings_dict["NAME"]
        ),
        "ROOMS_URL": partners.rooms,
        "FLIGHTS_URL": partners.flights,
    }
    with Process(
        "-m granian --interface wsgi hotel.wsgi:application --port {port}", environment
    ) as server:
        yield server
