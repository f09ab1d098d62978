"""The checks can fail: each of the known bugs is planted, and must be caught.

`pytest rides/tests/test_seeded_bugs.py` prints at the end which check caught which bug.
"""

from contextlib import ExitStack

import pytest

from idempotency.testing import explore
from rides.payments.client import connected_client
from rides.tests.invariants import EVERY_INVARIANT
from rides.tests.seeded_bugs import BUGS, Bug, Scene

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


@pytest.fixture
def scene(rider, rider_with_bad_card, stand_in) -> Scene:
    return Scene(rider=rider, rider_with_bad_card=rider_with_bad_card, stand_in=stand_in)


@pytest.fixture(autouse=True)
def no_second_try(monkeypatch):
    """Stripe's client would wait before it sends again what was lost, as the next attempt does."""
    connected_client.cache_clear()
    monkeypatch.setattr("rides.payments.client.RETRIES", 0)
    yield
    connected_client.cache_clear()


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug: Bug, scene, record_property):
    with ExitStack() as bed:
        bug.plant(bed)
        report = explore(bug.experiment(scene), bug.plan)

    caught_by = {violation.invariant for violation in report.violations}
    record_property("seeded bug", f"{bug.name:<42} {', '.join(sorted(caught_by)) or 'NOT CAUGHT'}")
    assert set(bug.caught_by) <= caught_by, report


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_without_the_bug_the_same_trial_finds_nothing(bug: Bug, scene):
    report = explore(bug.experiment(scene), bug.plan)

    assert report.problems == []


def test_every_check_catches_a_bug():
    catching = {name for bug in BUGS for name in bug.caught_by}

    assert catching == {invariant.__name__ for invariant in EVERY_INVARIANT}


def test_there_are_at_least_twenty_bugs():
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 20
