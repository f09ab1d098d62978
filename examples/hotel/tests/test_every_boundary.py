"""A trip that ends at every boundary: around each statement, each commit and each call."""

import os
from datetime import timedelta

import pytest
from django.test import Client
from idempotency.models import IdempotencyKey
from idempotency.testing import Experiment, by_turns, every_combination, explore

from hotel.models import Trip, Wish
from hotel.operations import BookTrip

PLAN = every_combination if os.environ.get("CRASHES") == "all" else by_turns


@pytest.fixture
def trip_to(headers, partners):
    def trip_to(flight):
        def send(key):
            body = {"room": "Garden", "flight": flight}
            headers_now = {**headers, "Idempotency-Key": key}
            return Client().post("/trips", body, "application/json", headers=headers_now)

        return Experiment(
            operation=BookTrip,
            send=send,
            lose_answer=partners.losing_answers,
            invariants=(only_whole_trips_are_booked, the_answer_is_true),
        )

    def only_whole_trips_are_booked(trial):
        booked = Trip.objects.filter(status="booked")
        assert set(booked.values_list("room_booking", flat=True)) == set(partners.booked())
        assert set(booked.values_list("ticket", flat=True)) == set(partners.sold())
        assert len(partners.booked()) == len(partners.sold()) == len(booked)

    def the_answer_is_true(trial):
        trip = Trip.objects.get(key__idempotency_key=trial.idempotency_key)
        assert (trial.final_answer.status, trip.status) in {(201, "booked"), (409, "cancelled")}

    return trip_to


@pytest.mark.parametrize("flight", ["AB100", "FULL1"])
def test_a_trip_is_booked_whole_or_not_at_all(crash_everywhere, trip_to, flight):
    report = crash_everywhere(trip_to(flight), PLAN)

    assert report.struck == set(report.boundaries)


def test_a_wish_is_written_once_whatever_ends_it(crash_everywhere, headers):
    def send(key):
        client = Client(raise_request_exception=False, headers={**headers, "Idempotency-Key": key})
        return client.post("/wishes", {"text": "tea"})

    def each_wish_has_its_key(trial):
        assert Wish.objects.count() == IdempotencyKey.objects.count()
        assert trial.final_answer.status == 201

    crash_everywhere(Experiment(send=send, invariants=(each_wish_has_its_key,)), PLAN)


def test_an_airline_that_is_asked_twice_sells_twice_and_it_is_seen(trip_to, monkeypatch):
    """The experiment fails where the operation is wrong: here it sends what may have been sent."""
    monkeypatch.setattr(BookTrip.buy_ticket, "window", timedelta(hours=20))

    report = explore(trip_to("AB100"), by_turns)

    assert {each.invariant for each in report.violations} >= {"only_whole_trips_are_booked"}
