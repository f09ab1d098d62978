"""What a chaos run must have seen, or its silence would prove nothing."""

from collections import Counter

from proof.nemeses import NEMESES
from proof.outcome import Outcome, Sighting


def outcome_of(sighting: Sighting, nemeses: list[str]) -> Outcome:
    """A run of a minute in which nothing else was to be seen."""
    return Outcome(
        minutes=1,
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
