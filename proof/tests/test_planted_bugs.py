"""The checks can fail: each of the known bugs is planted, and must be caught.

`pytest proof/tests/test_planted_bugs.py` prints at the end which check caught which bug.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from idempotency.testing import explore
from idempotency.tests.seams import seams_of, used_in
from proof.bugs import BUGS, Bug, Scene, seams
from proof.invariants import EVERY_INVARIANT
from rides.tests import test_overload
from sandbox.stripe.control import StandIn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


ONE_OF_EACH_TRIAL = {(bug.experiment, bug.plan): bug for bug in BUGS}.values()
TESTS = Path(__file__).parent
BUGS_ARE_IN = Path(str(seams.__file__)).parent


@pytest.fixture
def scene(rider, rider_with_bad_card, rider_with, stand_in, no_second_try) -> Scene:
    return Scene(
        rider=rider,
        rider_with_bad_card=rider_with_bad_card,
        rider_with_3ds=rider_with("tok_threeDSecure2Required"),
        stand_in=stand_in,
    )


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug: Bug, scene, record_property):
    with ExitStack() as bed:
        bug.plant(bed)
        report = explore(bug.experiment(scene), bug.plan)

    caught_by = {violation.invariant for violation in report.violations}
    record_property("planted bug", f"{bug.name:<42} {', '.join(sorted(caught_by)) or 'NOT CAUGHT'}")
    assert set(bug.caught_by) <= caught_by, report


@pytest.mark.parametrize("bug", ONE_OF_EACH_TRIAL, ids=lambda bug: bug.name)
def test_without_the_bug_the_same_trial_finds_nothing(bug: Bug, scene):
    report = explore(bug.experiment(scene), bug.plan)

    assert report.problems == []


def test_every_check_catches_a_bug():
    catching = {name for bug in BUGS for name in bug.caught_by}

    assert catching == {invariant.__name__ for invariant in EVERY_INVARIANT}


def test_there_are_at_least_twenty_bugs():
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 20


# Where bugs are planted.


def test_each_seam_of_the_proofs_is_in_the_code_and_has_a_bug():
    places = seams_of(seams)

    assert [name for name, seam in places.items() if not hasattr(*seam)] == []
    assert used_in([*BUGS_ARE_IN.glob("*.py"), *TESTS.glob("*.py")]) == places.keys()


def test_a_bug_is_planted_in_a_seam_and_nowhere_else():
    patching = {file.stem for file in BUGS_ARE_IN.glob("*.py") if "patch" in file.read_text()}

    assert patching == {"planting"}


# A bug that no crash shows: the test that stands against it must fail.


class Unbounded:
    """Sets what a test sets, but for the limit of what may wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def setenv(self, name: str, value: str) -> None:
        self.monkeypatch.setenv(name, "100000" if name == "API_QUEUE" else value)


@pytest.mark.usefixtures("riders")
def test_whatever_comes_may_wait(
    stand_in: StandIn, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    monkeypatch.setenv("API_QUEUE_SECONDS", "60")
    test = test_overload.test_a_refusal_says_when_to_come_back
    record_property("planted bug", f"{'whatever_comes_may_wait':<42} {test.__name__}")

    with pytest.raises((AssertionError, KeyError)):  # the refusal that never came has no code
        test(stand_in, tmp_path, Unbounded(monkeypatch))
