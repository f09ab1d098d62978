"""Every decision of a person is kept in a table of its own, which the reaper does not empty."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model

from idempotency.exceptions import ReviewRefused
from idempotency.models import IdempotencyKey, ReviewDecision
from idempotency.phases import Response
from idempotency.review.decisions import Decision, close, run_again, undo
from idempotency.testing.clock import let_time_pass
from idempotency.tests.ledger import Fault
from idempotency.workers.reaping import reap

pytestmark = pytest.mark.django_db(transaction=True)

ANSWER = Response.error(409, "Closed.", code="closed")
A_MONTH_AND_MORE = timedelta(days=40)


@pytest.fixture
def under_review(customer, key, ledger, stored) -> IdempotencyKey:
    ledger.faults = [Fault.ERROR_BEFORE]
    customer.send(key)
    IdempotencyKey.objects.update(needs_review_at="2026-01-01T00:00Z")
    return stored()


def decision(key: IdempotencyKey, **changes: str) -> Decision:
    said = {"reviewer": "boss@example.com", "reason": "It was us.", **changes}
    return Decision(key_id=key.pk, lease_token=key.lease_token, **said)


@pytest.mark.parametrize(
    "unknown", [{}, {"request_path": "/gone"}, {"request_params": {"of": "another version"}}]
)
def test_closing_is_kept_though_the_code_knows_the_request_no_more(under_review, unknown, caplog):
    IdempotencyKey.objects.update(**unknown)

    with caplog.at_level("INFO"):
        close(decision(under_review), ANSWER)

    kept = ReviewDecision.objects.get()
    assert (kept.action, kept.reviewer, kept.reason) == ("close", "boss@example.com", "It was us.")
    assert (kept.idempotency_key_id, kept.foreign_key) == (
        under_review.pk,
        under_review.foreign_key,
    )
    assert f"decided: id={under_review.pk} action=close" in caplog.text
    assert "boss@example.com" not in caplog.text


def test_it_outlives_the_request(under_review):
    close(decision(under_review), ANSWER)
    for _ in range(2):
        let_time_pass(A_MONTH_AND_MORE)
        reap(10)

    assert not IdempotencyKey.objects.exists()
    assert ReviewDecision.objects.get().reason == "It was us."


def test_each_decision_is_kept_with_what_came_of_it_or_not(under_review, ledger):
    ledger.faults = [Fault.ERROR_BEFORE]
    with pytest.raises(Exception, match="The ledger answered 500"):
        run_again(decision(under_review, reason="Try once more."))
    IdempotencyKey.objects.update(needs_review_at="2026-01-01T00:00Z", locked_at=None)
    close(decision(IdempotencyKey.objects.get()), ANSWER)

    assert list(ReviewDecision.objects.order_by("id").values_list("action", flat=True)) == [
        "run_again",
        "close",
    ]


def test_a_decision_that_is_refused_is_none(under_review):
    with pytest.raises(ReviewRefused):
        undo(decision(under_review))
    with pytest.raises(ReviewRefused):
        close(decision(under_review, reviewer=" "), ANSWER)
    with pytest.raises(ReviewRefused):
        close(decision(under_review, reason=" "), ANSWER)

    assert not ReviewDecision.objects.exists()


def test_its_words_are_made_storable(under_review):
    close(decision(under_review, reason="half \ud83d of a pair \x00"), ANSWER)

    assert ReviewDecision.objects.get().reason == r"half \ud83d of a pair \0"


def test_it_can_be_read_in_the_admin_and_not_changed(under_review, client, settings):
    settings.ROOT_URLCONF = "rocketrides.urls"
    close(decision(under_review), ANSWER)
    kept = ReviewDecision.objects.get()
    client.force_login(get_user_model().objects.create_superuser("root@example.com", "x"))
    pages = "/admin/idempotency/reviewdecision/"

    for term in ("", str(under_review.pk), str(under_review.foreign_key), "boss@example.com"):
        assert "It was us." in client.get(pages, {"q": term}).content.decode()
    assert "It was us." not in client.get(pages, {"q": "nobody"}).content.decode()
    assert "boss@example.com" in client.get(f"{pages}{kept.pk}/change/").content.decode()
    assert client.post(f"{pages}{kept.pk}/change/", {"reason": "?"}).status_code == 403
    assert client.post(f"{pages}{kept.pk}/delete/", {"post": "yes"}).status_code == 403
