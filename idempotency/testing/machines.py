"""A machine that tells stories of an operation: what can happen to it, in any order.

Hypothesis draws the stories, and shortens one that goes wrong until it can be read. A machine is a
`Story` whose rules are steps; here is what the machines of all operations have in common.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any, ClassVar
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.internal.conjecture import engine
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from idempotency.exceptions import IdempotencyError, ReviewRefused
from idempotency.jobs import delivering
from idempotency.models import IdempotencyKey, JobDelivery, StagedJob
from idempotency.review.decisions import Decision, run_again
from idempotency.testing.histories import recorded_histories

STORIES = 20
SECONDS_TO_SHRINK = 20
MOST_JOBS = 100


class Story(RuleBasedStateMachine):
    """Counts its steps and what happened in them, over all stories that are told."""

    steps: ClassVar[Counter[str]]
    happened: ClassVar[Counter[str]]

    went_wrong = False
    """Whether a step failed: such a story has no end that is to be looked at."""

    @classmethod
    def counts(cls) -> list[str]:
        """As a table for people."""
        rows = [*sorted(cls.happened.items()), *sorted(cls.steps.items())]
        return [f"{name:<46}{n:>8}" for name, n in [*rows, ("steps", cls.steps.total())]]


def step(run: Callable[..., Any]) -> Callable[..., Any]:
    """Make a rule one of those that are counted."""

    @wraps(run)
    def counted(story: Story, **drawn: Any) -> Any:
        story.steps[run.__name__] += 1
        story.went_wrong = True
        result = run(story, **drawn)
        story.went_wrong = False
        return result

    return counted


@contextmanager
def counted_from_zero(machine: type[Story]) -> Iterator[None]:
    """Have the machine's stories be counted in the block, and every change of a key recorded."""
    machine.steps, machine.happened = Counter(), Counter()
    with recorded_histories(), patch.object(engine, "MAX_SHRINKING_SECONDS", SECONDS_TO_SHRINK):
        yield


def tell(machine: type[Story], number: int, length: int) -> None:
    """Some stories of so many steps, which are the same each time for the same number."""
    run_state_machine_as_test(
        seed(number)(machine),
        settings=settings(
            max_examples=STORIES,
            stateful_step_count=length,
            phases=[Phase.generate, Phase.shrink],
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


# What processes and people do in a story.


def hand_jobs_over() -> None:
    """What the enqueuer does."""
    delivering.drain_staged_jobs(MOST_JOBS)
    delivering.redeliver_overdue_jobs(MOST_JOBS)


def jobs_are_owed() -> bool:
    """Whether a job is still to be done, and no person has to look at it first."""
    return StagedJob.objects.exists() or JobDelivery.objects.filter(set_aside_at=None).exists()


def decide_to_run_again(key_id: int) -> None:
    """What a person does with a request of the review list."""
    token = IdempotencyKey.objects.values_list("lease_token", flat=True).get(pk=key_id)
    decision = Decision(
        key_id=key_id, lease_token=token, reviewer="a person", reason="it may do now"
    )
    with suppress(IdempotencyError, ReviewRefused):
        run_again(decision)
