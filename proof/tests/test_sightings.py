"""What a chaos run must have seen, or its silence would prove nothing."""

import threading
from collections import Counter

from proof.chaos.nemeses import NEMESES, Schedule
from proof.chaos.outcome import Outcome, Sighting


def outcome_of(sighting: Sighting, nemeses: list[str]) -> Outcome:
    """A run of a minute in which nothing else was to be seen."""
    return Outcome(
        minutes_asked_for=1,
        minutes=2,
        keys=1,
        told=Counter(),
        nemeses=nemeses,
        happened=Counter(nemeses),
        seconds_of_keys=0,
        seconds_of_jobs=0,
        sightings=[sighting],
        violations=[],
    )


def test_where_all_can_happen_it_must_be_seen_often_enough():
    too_few = outcome_of(Sighting("take-overs", 9, 10, ("kill",)), list(NEMESES))
    enough = outcome_of(Sighting("take-overs", 10, 10, ("kill",)), list(NEMESES))

    assert too_few.failures == ["not seen often enough: take-overs"]
    assert enough.failures == []


def test_where_a_part_can_happen_it_must_be_seen_at_all():
    never = outcome_of(Sighting("take-overs", 0, 10, ("kill",)), ["kill -9 api"])
    once = outcome_of(Sighting("take-overs", 1, 10, ("kill",)), ["kill -9 api"])

    assert never.failures == ["not seen often enough: take-overs"]
    assert once.failures == []


def test_what_cannot_come_of_the_part_is_not_asked_for():
    outcome = outcome_of(Sighting("take-overs", 0, 10, ("kill",)), ["Stripe: decline"])

    assert outcome.failures == []


def test_what_comes_of_the_load_is_asked_for_in_a_calm_run():
    outcome = outcome_of(Sighting("replays", 0, 50), [])

    assert outcome.failures == ["not seen often enough: replays"]


def test_a_run_goes_on_with_what_the_missing_comes_of_and_nothing_else(monkeypatch):
    happened = []
    for name in ("kill -9 api", "freeze api", "Stripe: decline"):
        monkeypatch.setitem(NEMESES, name, lambda world, dice, name=name: happened.append(name))
    monkeypatch.setattr("proof.chaos.nemeses.PAUSE_SECONDS", (0.0, 0.01))
    schedule = Schedule(["kill -9 api", "freeze api", "Stripe: decline"], seed=14)
    fenced = Sighting("rejected by the fence", 0, 1, ("freeze",))

    schedule.narrow(name for name in schedule.names if fenced.comes_of_this(name))
    stop = threading.Event()
    threading.Timer(1, stop.set).start()
    schedule.run(None, stop)

    assert set(happened) == {"freeze api"}
