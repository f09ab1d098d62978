"""What is measured in a database of one size: the same requests, cycles, batches and pages.

Each figure is a median, in milliseconds. Requests go one after the other to a real API process;
workers and pages run in this one. Imported once Django is set up.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import requests
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client, override_settings

from bench import filling
from idempotency import conf
from idempotency.claims import FIND_KEY
from idempotency.management.commands import enqueuer
from idempotency.models import IdempotencyKey, JobDelivery
from idempotency.workers.completing import complete_due_keys
from idempotency.workers.reaping import reap, reap_finished_keys, remove_tombstones

BATCH = 500
BATCHES = 12
OVERDUE = BATCH * BATCHES

REQUESTS = 300
CYCLES = 10_000  # a second or two: a shorter disturbance leaves the median alone
KEYS = 100

COORDINATES = {"origin_lat": "0", "origin_lon": "0", "target_lat": "0", "target_lon": "0"}
LIST_PAGE = "/admin/idempotency/idempotencykey/"

PAGES = "pages read to find a key"
BYTES = "bytes of table and indexes, for a key"
CONTROL = "control: a commit elsewhere"
NOT_JUDGED = (CONTROL, PAGES, BYTES)

Figures = dict[str, float]
Work = Callable[[], object]


def measure(api: str) -> Figures:
    """Every figure, in the order of the table; leaves no key that is due or overdue."""
    return {
        CONTROL: median_ms(_commit_elsewhere, CYCLES),
        PAGES: _pages_to_find_a_key(),
        BYTES: filling.bytes_a_key(),
        **_requests(api),
        **_pages_of_the_admin(),
        **_enqueuer(),
        **_completer(),
        **_reaper(),
    }


def book(api: str, session: requests.Session, key: str | None = None) -> None:
    headers = {"Authorization": "user@example.com", "Idempotency-Key": key or uuid4().hex}
    answer = session.post(f"{api}/rides", data=COORDINATES, headers=headers, timeout=30)
    assert answer.status_code == 201, answer.text


def median_ms(work: Work, times: int) -> float:
    """How long it takes; the first time is not counted."""
    took = []
    for _ in range(times + 1):
        began_at = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - began_at))
    return statistics.median(took[1:])


def _requests(api: str) -> Figures:
    session, key = requests.Session(), uuid4().hex
    median_ms(lambda: book(api, session), KEYS)  # until every thread has its connection
    return {
        "a fresh ride": median_ms(lambda: book(api, session), REQUESTS),
        "a replay": median_ms(lambda: book(api, session, key), REQUESTS),
    }


def _pages_of_the_admin() -> Figures:
    staff, _ = get_user_model().objects.get_or_create(
        email="bench@example.com", is_staff=True, is_superuser=True
    )
    client = Client(SERVER_NAME="localhost")
    client.force_login(staff)
    newest = IdempotencyKey.objects.latest("id").pk

    def look(page: str) -> None:
        assert client.get(page).status_code == 200, page

    return {
        "the admin's list of keys": median_ms(lambda: look(LIST_PAGE), KEYS),
        "the admin's page of a key": median_ms(lambda: look(f"{LIST_PAGE}{newest}/change/"), KEYS),
    }


def _enqueuer() -> Figures:
    """The rides that were booked owe a receipt each."""
    enqueue = enqueuer.Command().run_batch
    one = median_ms(lambda: enqueue(1), KEYS)
    enqueue(BATCH)
    JobDelivery.objects.all().delete()  # as the workers would, or they were handed over again
    filling.settle()
    return {
        "the enqueuer, one job": one,
        "the enqueuer, nothing to do": median_ms(lambda: enqueue(BATCH), CYCLES),
    }


def _completer() -> Figures:
    filling.leave_due_keys(KEYS + 1)
    return {
        "the completer, one key": median_ms(_complete_one, KEYS),
        "the completer, nothing to do": median_ms(lambda: complete_due_keys(BATCH), CYCLES),
    }


def _reaper() -> Figures:
    answers = median_ms(lambda: _whole_batch(reap_finished_keys), BATCHES - 1)
    filling.settle()
    horizon = {"TOMBSTONE_RETENTION": conf.current().retention}
    with override_settings(IDEMPOTENCY={**settings.IDEMPOTENCY, **horizon}):
        tombstones = median_ms(lambda: _whole_batch(remove_tombstones), BATCHES - 1)
    return {
        f"the reaper, {BATCH:,} answers": answers,
        f"the reaper, {BATCH:,} tombstones": tombstones,
        "the reaper, nothing to do": median_ms(lambda: reap(BATCH), CYCLES),
    }


def _whole_batch(take: Callable[[int], int]) -> None:
    assert take(BATCH) == BATCH


def _complete_one() -> None:
    assert complete_due_keys(1).counts["succeeded"] == 1


def _commit_elsewhere() -> None:
    """What a durable commit costs at this moment, whatever the size of the keys' table."""
    get_user_model().objects.filter(email="user@example.com").update(is_active=True)


def _pages_to_find_a_key() -> float:
    """The height of the index, and the row itself. The first time the catalogue is read as well."""
    oldest = IdempotencyKey.objects.earliest("id")
    key: dict[str, Any] = {"user_id": oldest.user_id, "idempotency_key": oldest.idempotency_key}
    with connection.cursor() as cursor:
        for _ in range(2):
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {FIND_KEY}", key)
            [explained] = cursor.fetchone()[0]
    plan = explained["Plan"]
    return float(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
