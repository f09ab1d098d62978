"""A rider who is deactivated meanwhile is charged by nobody, unless a person decides so."""

from datetime import timedelta

import pytest

from idempotency.models import IdempotencyKey, StagedJob
from idempotency.review.decisions import Decision, run_again
from idempotency.testing.clock import let_time_pass
from idempotency.workers.completing import complete_due_keys
from rides.models import User
from rides.operations import CHARGE_CREATED, RIDE_CREATED
from rides.tests.booking import CHARGING, ask, the_key

pytestmark = pytest.mark.django_db(transaction=True)

UNTIL_IT_IS_DUE = timedelta(hours=1)


@pytest.fixture
def begun(rider, stand_in):
    """A booking whose charge has not been sent, and whose rider is then deactivated."""
    stand_in.add_fault("rate_limit", path=CHARGING)
    assert ask(rider=rider.email).status_code == 503
    stand_in.clear_faults()
    User.objects.filter(pk=rider.pk).update(is_active=False)
    let_time_pass(UNTIL_IT_IS_DUE)
    return the_key()


def test_the_completer_charges_nobody_who_was_deactivated(begun, stand_in):
    assert complete_due_keys(10).total == 1

    key = the_key()
    assert (key.recovery_point, key.is_under_review) == (RIDE_CREATED, True)
    assert key.journal[-1]["evidence"] == {"recovery_point": RIDE_CREATED, "may_go_on": False}
    assert stand_in.charges() == []


def test_a_person_may_have_it_charged_all_the_same(begun, stand_in):
    complete_due_keys(10)

    waiting = IdempotencyKey.objects.get()
    decision = Decision(
        key_id=waiting.pk,
        lease_token=waiting.lease_token,
        reviewer="boss",
        reason="The ride was flown.",
    )
    assert run_again(decision).status == 201
    assert len(stand_in.charges(status="succeeded")) == 1


def test_what_is_paid_for_is_finished_though(rider, stand_in):
    ask(rider=rider.email)
    StagedJob.objects.all().delete()
    IdempotencyKey.objects.update(
        recovery_point=CHARGE_CREATED,
        response_code=None,
        response_body=None,
        response_content_type=None,
    )
    User.objects.filter(pk=rider.pk).update(is_active=False)
    let_time_pass(UNTIL_IT_IS_DUE)

    assert complete_due_keys(10).counts["succeeded"] == 1
    assert StagedJob.objects.count() == 1
