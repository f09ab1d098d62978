"""A database that lost its last commits: nobody is charged twice, or pays for another's ride.

So it is after a failover to a standby that was behind, and after a restore. The rows are gone, and
the serial ids that they had are given to whoever comes next.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest

from idempotency.testing.losses import lose_commits_since, what_is_kept
from rides.models import Ride
from rides.tests.booking import (
    BOOKED,
    CHARGING,
    RIDER,
    RIDER_WITH_BAD_CARD,
    book,
    run,
    the_key,
)
from sandbox.supervisor import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

KEY = "the-first-riders-own-key"
OTHER_KEY = "the-other-riders-own-key"
STALL_SECONDS = 4


def test_a_key_whose_rows_were_lost_asks_the_same_question(api, stand_in):
    kept = what_is_kept()
    assert book(api.url, KEY).status_code == 201
    asked = the_key(KEY).foreign_key
    lose_commits_since(kept)

    again = book(api.url, KEY)

    assert (again.status_code, again.json()) == (201, BOOKED)
    assert again.headers["Idempotent-Replayed"] == "false"
    assert the_key(KEY).foreign_key == asked
    [charge] = stand_in.charges()
    assert Ride.objects.get().stripe_charge_id == charge["id"]


def test_a_key_whose_lost_numbers_another_rider_has_is_charged_once(api, stand_in):
    kept = what_is_kept()
    assert book(api.url, KEY).status_code == 201
    lose_commits_since(kept)
    assert book(api.url, OTHER_KEY, rider=RIDER_WITH_BAD_CARD).status_code == 402

    book(api.url, KEY)

    assert len(stand_in.charges(status="succeeded")) == 1
    assert Ride.objects.get(user__email=RIDER_WITH_BAD_CARD).stripe_charge_id is None


def test_a_process_of_a_lost_history_writes_on_nobody_elses_key(api, stand_in):
    """Both riders' requests have the same ids and are their keys' first attempts; the first one is
    still at Stripe when its rows are lost.
    """
    kept = what_is_kept()
    stand_in.add_fault("stall", times=2, seconds=STALL_SECONDS, path=CHARGING)
    with ThreadPoolExecutor(2) as clients:
        first = clients.submit(book, api.url, KEY)
        wait_until(stand_in.charges)
        number = the_key(KEY).pk
        lose_commits_since(kept)
        other = clients.submit(book, api.url, OTHER_KEY, rider=RIDER_WITH_BAD_CARD)
        wait_until(lambda: len(stand_in.charges()) == 2)
        taken = the_key(OTHER_KEY)
        assert (taken.pk, taken.attempt) == (number, 1)
        assert not first.done(), "the call was over before anybody else had the numbers"
        lost, declined = first.result(PATIENCE_SECONDS), other.result(PATIENCE_SECONDS)

    assert (lost.status_code, lost.json()["code"]) == (409, "request_in_progress")
    assert declined.status_code == 402
    assert Ride.objects.get().stripe_charge_id is None
    assert the_key(OTHER_KEY).response_code == 402

    book(api.url, KEY)

    assert len(stand_in.charges(status="succeeded")) == 1
    assert not Ride.objects.filter(stripe_charge_id__isnull=False).exclude(user__email=RIDER)


def test_the_doors_are_closed_and_opened_while_the_api_runs(api, stand_in):
    assert book(api.url, KEY).status_code == 201
    run("doors", "close", "--reason", "a restore")
    try:
        wait_until(lambda: answers_of_every_process(api.url) == {503})
        closed = book(api.url, OTHER_KEY)
    finally:
        run("doors", "open")
        wait_until(lambda: answers_of_every_process(api.url) == {201})

    assert closed.json()["code"] == "doors_closed"
    assert "Retry-After" in closed.headers
    assert len(stand_in.charges()) == 1


def answers_of_every_process(url: str) -> set[int]:
    """Each of the API's processes has read the row for itself."""
    return {book(url, KEY).status_code for _ in range(20)}
