"""What can be done to many at once: first it is said to how many and which, then why, then it is
done; and nothing is done to a key but through the fenced functions.
"""

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db.models.functions import Now
from django.test import Client
from django.urls import path

from idempotency.attempts import Attempt
from idempotency.claims import end_lease, take_over_key
from idempotency.console import acts
from idempotency.exceptions import LeaseLost, ReviewRefused
from idempotency.models import IdempotencyKey, JobDelivery, ReviewDecision, StagedJob
from idempotency.operations import operation_for
from idempotency.review import hastening
from idempotency.review.decisions import Decision
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import WINDOW
from idempotency.tests.ledger import Fault
from idempotency.tests.reviewing import urlpatterns as of_the_bookshop
from idempotency.workers.completing import complete_due_keys

pytestmark = pytest.mark.django_db(transaction=True)

urlpatterns = [*of_the_bookshop, path("admin/", admin.site.urls)]

KEYS = "/admin/idempotency/idempotencykey/"
REVIEW = "/admin/idempotency/requestunderreview/"
WHY = "The ledger is well again."
SAID = {"reason": WHY, "limit": 100}
SHOWN = re.compile(r'name="shown" value="([^"]*)"')


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("operator@example.com"))
    return client


@pytest.fixture
def unfinished(customer, ledger):
    """Leave so many requests unfinished, which nobody works on."""

    def leave(count: int) -> list[IdempotencyKey]:
        ledger.faults = [Fault.ERROR_BEFORE] * count
        keys = [str(uuid4()) for _ in range(count)]
        for key in keys:
            assert customer.send(key).status_code == 503
        return list(IdempotencyKey.objects.filter(idempotency_key__in=keys).order_by("-pk"))

    return leave


@pytest.fixture
def reviewed(customer, ledger):
    """Put so many requests on the review list."""

    def put(count: int) -> list[IdempotencyKey]:
        keys = [str(uuid4()) for _ in range(count)]
        ledger.faults = [Fault.ERROR_BEFORE] * count
        for key in keys:
            customer.send(key, to="/reviewed")
        let_time_pass(WINDOW)
        for key in keys:
            assert customer.send(key, to="/reviewed").json()["code"] == "needs_review"
        return list(IdempotencyKey.objects.filter(idempotency_key__in=keys).order_by("-pk"))

    return put


def chosen(*keys: IdempotencyKey) -> str:
    return ",".join(str(key.pk) for key in keys)


def submit(client: Client, address: str, said: dict[str, Any], **options: Any) -> Any:
    """Send the form of the page that stands at the address."""
    found = SHOWN.search(client.get(address).content.decode())
    return client.post(address, {**said, "shown": found[1] if found else ""}, **options)


def decision(key: IdempotencyKey, **changes: object) -> Decision:
    said = {"key_id": key.pk, "lease_token": key.lease_token, "reviewer": "ann", "reason": WHY}
    return Decision(**{**said, **changes})


# The page.


def test_before_anything_is_done_it_is_said_to_how_many_and_which(operator, unfinished):
    keys = unfinished(3)
    before = list(IdempotencyKey.objects.order_by("pk").values())

    page = operator.get(f"{KEYS}act/run-now/?saved=unfinished").content.decode()

    assert "it concerns\n      <strong>3</strong>" in page
    assert all(f"{KEYS}{key.pk}/change/" in page for key in keys)
    assert list(IdempotencyKey.objects.order_by("pk").values()) == before


def test_all_that_the_filter_shows_is_gone_on_with_and_nothing_else(operator, unfinished):
    keys = unfinished(3)
    other = IdempotencyKey.objects.filter(pk=keys[0].pk)
    other.update(created_at=Now() - timedelta(hours=1))
    assert complete_due_keys(10).total == 0

    submit(operator, f"{KEYS}act/run-now/?saved=stuck", SAID)
    assert complete_due_keys(10).counts["succeeded"] == 1
    submit(operator, f"{KEYS}act/run-now/?saved=unfinished", SAID)
    assert complete_due_keys(10).counts["succeeded"] == 2


def test_those_that_are_ticked_are_led_to_the_same_page(operator, unfinished):
    first, second, _ = unfinished(3)
    ticked = {"action": "run-now", "index": 0, "_selected_action": [first.pk, second.pk]}
    led = operator.post(KEYS, ticked)

    assert f"chosen={second.pk}" in led.headers["Location"] or led.status_code == 302
    answer = submit(operator, led.headers["Location"], SAID, follow=True)
    assert "Run now: 2 done, 0 refused." in answer.content.decode()
    assert complete_due_keys(10).counts["succeeded"] == 2


def test_a_limit_is_one(operator, unfinished):
    unfinished(3)
    submit(operator, f"{KEYS}act/run-now/?saved=unfinished", {**SAID, "limit": 2})

    assert complete_due_keys(10).counts["succeeded"] == 2


def test_what_comes_to_the_list_after_the_page_was_shown_is_left_alone(operator, reviewed):
    [first] = reviewed(1)
    page = operator.get(f"{REVIEW}act/undo/").content.decode()
    reviewed(1)
    operator.post(f"{REVIEW}act/undo/", {**SAID, "shown": SHOWN.search(page)[1]})

    assert ReviewDecision.objects.get().idempotency_key_id == first.pk


def test_what_somebody_has_worked_on_since_the_page_was_shown_is_refused(operator, reviewed):
    [key] = reviewed(1)
    page = operator.get(f"{REVIEW}act/undo/").content.decode()
    IdempotencyKey.objects.filter(pk=key.pk).update(lease_token=uuid4())
    shown = {**SAID, "shown": SHOWN.search(page)[1]}
    answer = operator.post(f"{REVIEW}act/undo/", shown, follow=True).content.decode()

    assert "0 done, 1 refused" in answer
    assert not ReviewDecision.objects.exists()


@pytest.mark.parametrize("shown", ["", "abc", ",:,", "1", "999999999999999999999:x", "²:"])
def test_who_has_been_shown_nothing_does_nothing(operator, unfinished, shown):
    unfinished(1)
    operator.post(f"{KEYS}act/run-now/?saved=unfinished", {**SAID, "shown": shown})

    assert not ReviewDecision.objects.exists()


def test_what_there_was_no_time_for_is_said(operator, unfinished, monkeypatch):
    unfinished(3)
    monkeypatch.setattr(acts, "LONGEST", timedelta(0))
    answer = submit(operator, f"{KEYS}act/run-now/?saved=unfinished", SAID, follow=True)

    assert "1 done, 0 refused. 2 not begun" in answer.content.decode()
    assert ReviewDecision.objects.count() == 1


@pytest.mark.parametrize("query", ["id__lt=abc", "user=abc"])
def test_an_address_that_the_list_does_not_understand_leads_to_the_list(operator, query):
    answer = operator.get(f"{KEYS}act/run-now/?{query}")
    assert (answer.status_code, answer.headers["Location"]) == (302, f"{KEYS}?e=1")


@pytest.mark.parametrize(
    "said", [{}, {"reason": ""}, {"reason": "  "}, {**SAID, "limit": 0}, {**SAID, "limit": 10**6}]
)
def test_without_a_reason_or_with_no_limit_nothing_is_done(operator, unfinished, said):
    unfinished(1)
    assert submit(operator, f"{KEYS}act/run-now/?saved=unfinished", said).status_code == 200

    assert complete_due_keys(10).total == 0
    assert not ReviewDecision.objects.exists()


def test_each_is_recorded_with_who_and_why(operator, unfinished):
    keys = unfinished(2)
    submit(operator, f"{KEYS}act/run-now/?saved=unfinished", SAID)

    kept = ReviewDecision.objects.order_by("idempotency_key_id")
    assert [row.idempotency_key_id for row in kept] == sorted(key.pk for key in keys)
    assert {(row.action, row.reviewer, row.reason) for row in kept} == {
        ("run_now", "operator@example.com", WHY)
    }
    assert LogEntry.objects.filter(change_message=f"Run now: {WHY}").count() == 2


def test_what_is_finished_meanwhile_is_refused_and_stops_nobody_else(
    operator, unfinished, customer, monkeypatch
):
    first, _ = unfinished(2)
    carry_out = acts._each

    def after_the_client_came(*arguments):
        customer.send(first.idempotency_key)
        return carry_out(*arguments)

    monkeypatch.setattr(acts, "_each", after_the_client_came)
    answer = submit(operator, f"{KEYS}act/run-now/?saved=unfinished", SAID, follow=True)

    page = answer.content.decode()
    assert "1 done, 1 refused" in page
    assert f"{first.pk}: Request {first.pk} is finished" in page


@pytest.mark.parametrize("slug", ["nonsense", "run-again"])
def test_an_act_that_is_none_of_the_list_is_not_there(operator, slug):
    assert operator.get(f"{KEYS}act/{slug}/").status_code == 404


@pytest.mark.parametrize("asked", ["", "abc", "1;2", "-1", "²", "9" * 30])
def test_ids_that_are_none_choose_nothing(operator, unfinished, asked):
    unfinished(1)
    page = operator.get(f"{KEYS}act/run-now/?chosen={asked}").content.decode()

    assert "<strong>0</strong>" in page


def test_who_may_only_look_is_offered_nothing_and_can_do_nothing(customer, unfinished):
    [key] = unfinished(1)
    viewer = Client()
    viewer.force_login(customer.user)
    for codename in ("view_idempotencykey", "view_overview"):
        customer.user.user_permissions.add(Permission.objects.get(codename=codename))

    page = viewer.get(KEYS).content.decode()
    assert "On all that the filter shows" not in page
    assert viewer.get(f"{KEYS}act/run-now/?saved=unfinished").status_code == 403
    assert viewer.post(f"{KEYS}act/run-now/?chosen={key.pk}", SAID).status_code == 403
    assert complete_due_keys(10).total == 0


def test_a_keys_own_page_offers_what_can_be_done_to_it_as_it_stands(operator, unfinished, customer):
    [key] = unfinished(1)
    page = operator.get(f"{KEYS}{key.pk}/change/").content.decode()
    assert "act/run-now/" in page
    assert "act/let-go/" not in page

    customer.send(key.idempotency_key)
    assert "act/run-now/" not in operator.get(f"{KEYS}{key.pk}/change/").content.decode()


# The review list.


def test_a_decision_is_taken_on_all_that_is_listed(operator, reviewed, ledger):
    reviewed(3)
    answer = submit(operator, f"{REVIEW}act/run-again/", SAID, follow=True)

    assert "Run again: " in answer.content.decode()
    assert ReviewDecision.objects.filter(action="run_again").count() == 3


def test_many_are_closed_with_one_answer(operator, reviewed, customer):
    keys = reviewed(2)
    said = {**SAID, "status": 410, "message": "Too late."}
    assert submit(operator, f"{REVIEW}act/close/", SAID).status_code == 200  # without the answer
    assert not ReviewDecision.objects.exists()

    submit(operator, f"{REVIEW}act/close/", said)

    for key in keys:
        replayed = customer.send(key.idempotency_key, to="/reviewed")
        assert (replayed.status_code, replayed.json()["error"]) == (410, "Too late.")


def test_jobs_that_were_set_aside_are_put_back_together(operator, stage):
    for _ in range(2):
        JobDelivery.objects.create(
            job_id=uuid4(), job_name="x", job_args={}, set_aside_at=Now(), deliveries=10
        )
    address = "/admin/idempotency/jobdelivery/act/put-back/?state=set-aside"
    assert "<strong>2</strong>" in operator.get(address).content.decode()

    submit(operator, address, SAID)

    assert not JobDelivery.objects.filter(set_aside_at__isnull=False).exists()


# A lease that is ended by a person.


@pytest.fixture
def held(unfinished) -> IdempotencyKey:
    """A key that a process has in hand."""
    [key] = unfinished(1)
    claim = take_over_key(key.pk)
    assert claim is not None
    key.refresh_from_db()
    key.claim = claim
    return key


def test_who_held_a_lease_that_was_ended_can_write_nothing_more(held, ledger):
    attempt = Attempt(operation_for(held))
    hastening.let_go(decision(held))

    with pytest.raises(LeaseLost):
        attempt.resume(held.claim)
    assert complete_due_keys(10).counts["succeeded"] == 1
    assert len(ledger.payments) == 1


def test_a_lease_that_was_ended_is_in_the_journal_with_who_and_why(held):
    hastening.let_go(decision(held))

    held.refresh_from_db()
    entry = held.journal[-1]
    assert (entry["event"], entry["reviewer"], entry["reason"]) == ("lease_ended", "ann", WHY)
    assert ReviewDecision.objects.get().action == "let_go"


def test_a_lease_that_changed_hands_since_it_was_seen_is_not_ended(held):
    IdempotencyKey.objects.filter(pk=held.pk).update(lease_token=uuid4())

    with pytest.raises(ReviewRefused, match="not as you saw it"):
        hastening.let_go(decision(held))
    assert not end_lease(held, reviewer="ann", reason=WHY)
    held.refresh_from_db()
    assert held.locked_at is not None


def test_of_two_who_end_it_at_once_one_does(held, elsewhere):
    ended = [elsewhere(hastening.let_go, decision(held)) for _ in range(8)]
    outcomes = [each.exception(timeout=10) for each in ended]

    assert outcomes.count(None) == 1
    assert all(isinstance(each, ReviewRefused) for each in outcomes if each)
    assert ReviewDecision.objects.count() == 1


@pytest.mark.parametrize("act", [hastening.run_now, hastening.let_go])
def test_neither_moves_what_is_finished_or_waits_for_a_person(act, reviewed, customer, key, ledger):
    customer.send(key)
    [listed] = reviewed(1)
    for each in (IdempotencyKey.objects.get(idempotency_key=key), listed):
        before = IdempotencyKey.objects.filter(pk=each.pk).values().get()
        with pytest.raises(ReviewRefused):
            act(decision(each))
        assert IdempotencyKey.objects.filter(pk=each.pk).values().get() == before


@pytest.mark.parametrize("changes", [{"reason": " "}, {"reviewer": ""}])
@pytest.mark.parametrize("act", [hastening.run_now, hastening.let_go])
def test_neither_is_done_without_who_and_why(act, held, changes):
    with pytest.raises(ReviewRefused):
        act(decision(held, **changes))


def test_running_now_shortens_no_lease(held):
    assert hastening.run_now(decision(held)) == "due once its lease has ended"

    assert complete_due_keys(10).total == 0


def test_a_second_run_now_is_refused_until_somebody_has_taken_the_request(unfinished, ledger):
    [key] = unfinished(1)
    assert hastening.run_now(decision(key)) == "due now"
    with pytest.raises(ReviewRefused, match="is to run now already"):
        hastening.run_now(decision(key))

    ledger.faults = [Fault.ERROR_BEFORE]
    assert complete_due_keys(10).counts["failed"] == 1
    key.refresh_from_db()
    assert hastening.run_now(decision(key)) == "due now"
    assert ReviewDecision.objects.count() == 2


def test_what_was_put_off_since_is_run_now_again(unfinished):
    """As the completer does with all that is due while the foreign system refuses everything."""
    [key] = unfinished(1)
    hastening.run_now(decision(key))
    IdempotencyKey.objects.update(run_after=Now() + timedelta(minutes=5))

    assert hastening.run_now(decision(key)) == "due now"


def test_of_a_double_click_one_is_recorded(unfinished, elsewhere):
    [key] = unfinished(1)
    clicks = [elsewhere(hastening.run_now, decision(key)) for _ in range(2)]
    outcomes = [each.exception(timeout=10) for each in clicks]

    assert outcomes.count(None) == 1
    assert ReviewDecision.objects.count() == 1


def test_a_second_click_on_what_is_in_hand_stages_no_second_look(held):
    hastening.run_now(decision(held))
    with pytest.raises(ReviewRefused):
        hastening.run_now(decision(held))

    assert StagedJob.objects.count() == 1
    assert ReviewDecision.objects.count() == 1
