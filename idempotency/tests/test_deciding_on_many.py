"""What a decision does to one request of the review list it does to many, by the command."""

import pytest
from django.core.management import CommandError

from idempotency.models import FINISHED, IdempotencyKey, ReviewDecision
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import WINDOW
from idempotency.tests.ledger import Fault
from idempotency.tests.reviewing import named, review, urlpatterns  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def three_listed(customer, key, ledger):
    """Requests whose payment came too late to be known: `run-again` finds it by a look-up."""
    for n in range(3):
        ledger.faults = [Fault.ERROR_BEFORE]
        customer.send(f"{key}-{n}", to="/reviewed")
    let_time_pass(WINDOW)
    for n in range(3):
        customer.send(f"{key}-{n}", to="/reviewed")
    return list(IdempotencyKey.objects.order_by("needs_review_at"))


def close_all(*options: str) -> str:
    said = ["--status", "410", "--message", "Gone.", "--reason", "The bank says so"]
    return str(review("close", "--all", *said, *options))


def test_one_decision_is_taken_on_all_and_recorded_for_each(three_listed):
    said = close_all()

    assert said.endswith("close=3 refused=0\n")
    assert set(IdempotencyKey.objects.values_list("recovery_point", flat=True)) == {FINISHED}
    recorded = ReviewDecision.objects.values_list("idempotency_key_id", "action", "reason")
    assert set(recorded) == {(row.pk, "close", "The bank says so") for row in three_listed}


def test_a_dry_run_lists_them_and_decides_nothing(three_listed):
    said = close_all("--dry-run")

    assert [line.split()[0] for line in said.splitlines()[:-1]] == list(map(named, three_listed))
    assert said.endswith("close=3 (nothing was done)\n")
    assert not ReviewDecision.objects.exists()


def test_only_those_are_decided_on_that_are_there_for_a_like_reason(three_listed):
    other = three_listed[1]
    IdempotencyKey.objects.filter(pk=other.pk).update(last_error="Something else.", journal=[])

    assert close_all("--reason-like", "TOO LATE").endswith("close=2 refused=0\n")

    assert [row.pk for row in IdempotencyKey.objects.filter(needs_review_at__isnull=False)] == [
        other.pk
    ]


def test_the_evidence_is_a_reason_too(three_listed):
    assert close_all("--reason-like", '"looked_up": true').endswith("close=3 refused=0\n")


def test_one_that_is_refused_does_not_stop_the_rest_and_the_command_fails(three_listed, capsys):
    odd = three_listed[0]
    IdempotencyKey.objects.filter(pk=odd.pk).update(recovery_point="of_another_version")

    with pytest.raises(CommandError, match="1 of 3 decisions"):
        review("undo", "--all", "--reason", "The bank says so")

    assert ReviewDecision.objects.count() == 2


@pytest.mark.parametrize(
    "words", [[], ["7", "--all"], ["7", "--dry-run"], ["7", "--reason-like", "x"], ["--dry-run"]]
)
def test_one_is_named_or_all_are_meant(three_listed, words):
    with pytest.raises(CommandError, match="Name one request, or say --all"):
        review("run-again", *words, "--reason", "The bank says so")


def test_what_takes_an_argument_of_its_own_is_decided_one_by_one(three_listed):
    with pytest.raises(CommandError, match="unrecognized arguments: --all"):
        review("adopt", "7", "payment-7", "--all", "--reason", "The bank says so")
