"""Few connections for many requests: none is held while Stripe is asked."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import OperationalError, connection

from idempotency.database_errors import database_is_away
from rides.tests.booking import CHARGING, book, fail_midway
from rides.tests.pools import pool_of_one
from rides.tests.processes import Api, environment, running_api
from sandbox.stripe.control import StandIn

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("own_session", "riders"),
]

APPLICATION = "pooled-api"
LIMITED = "a_role_with_three_connections"
CLIENTS = 12
STRIPE_SECONDS = 0.5


@pytest.fixture
def pool_size() -> int:
    return 1


@pytest.fixture
def pooled_api(stand_in: StandIn, tmp_path: Path, monkeypatch, pool_size: int) -> Iterator[Api]:
    """An API of two processes with a pool each."""
    monkeypatch.setenv("DATABASE_POOL_SIZE", str(pool_size))
    monkeypatch.setenv("PGAPPNAME", APPLICATION)
    with running_api(stand_in, tmp_path) as api:
        yield api


def pids() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s", [APPLICATION]
        )
        return [pid for (pid,) in cursor.fetchall()]


def book_all_at_once(url: str) -> float:
    """Book a ride for each client, and return how many seconds that took."""
    began_at = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(lambda n: book(url, key_of(n)), range(CLIENTS)))
    assert [answer.status_code for answer in answers] == [201] * CLIENTS
    return time.monotonic() - began_at


def key_of(number: int) -> str:
    return f"key-of-client-number-{number}"


def test_those_who_wait_for_stripe_hold_no_connection(pooled_api, stand_in):
    stand_in.add_fault("latency", seconds=STRIPE_SECONDS, path=CHARGING)

    assert book_all_at_once(pooled_api.url) < CLIENTS / 2 * STRIPE_SECONDS / 2
    assert 1 <= len(pids()) <= 2


def test_nor_do_those_who_go_on_with_a_ride_that_is_recorded(pooled_api, stand_in):
    for number in range(CLIENTS):
        fail_midway(pooled_api.url, key_of(number))
    stand_in.add_fault("latency", seconds=STRIPE_SECONDS, path=CHARGING)

    assert book_all_at_once(pooled_api.url) < CLIENTS / 2 * STRIPE_SECONDS / 2


@pytest.mark.parametrize("pool_size", [5])
def test_connections_that_the_server_ended_fail_no_request(pooled_api, pool_size):
    book_all_at_once(pooled_api.url)
    ended = pids()
    assert len(ended) > 2
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(unnest(%s), 5000)", [ended])

    answers = [book(pooled_api.url, f"a-later-{key_of(number)}") for number in range(3 * CLIENTS)]

    assert {answer.status_code for answer in answers} == {201}
    assert not set(ended) & set(pids())
    assert pooled_api.complaints() == []


@pytest.mark.parametrize("pool_size", [5])
def test_connections_that_may_only_read_fail_one_request_of_a_process(pooled_api, pool_size):
    """What a primary becomes before a switchover."""
    book_all_at_once(pooled_api.url)
    before = pids()
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        cursor.execute("SELECT pg_terminate_backend(unnest(%s), 5000)", [before])
    answers = [book(pooled_api.url, f"a-later-{key_of(number)}") for number in range(4)]
    only_reading = pids()
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")

    later = [book(pooled_api.url, f"a-later-{key_of(number)}") for number in range(2 * CLIENTS)]

    assert {(a.status_code, a.json()["code"]) for a in answers} == {(503, "database_unavailable")}
    assert {answer.headers["Retry-After"] for answer in answers} == {"1"}
    assert [answer.status_code for answer in later].count(503) <= 2
    assert {answer.status_code for answer in later} <= {201, 503}
    assert not set(only_reading) & set(pids())
    assert pooled_api.complaints() == []


@pytest.fixture
def limited_role(monkeypatch, stand_in) -> Iterator[None]:
    """A role that may have fewer connections than the pools of the API may open."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {LIMITED} LOGIN CONNECTION LIMIT 3 IN ROLE pg_write_all_data")
        cursor.execute(f"GRANT pg_read_all_data TO {LIMITED}")
        cursor.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {LIMITED}")
    place = urlsplit(environment(stand_in)["DATABASE_URL"])
    monkeypatch.setattr(
        "rides.tests.processes.database_url", place._replace(netloc=f"{LIMITED}@").geturl()
    )
    yield
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s",
            [LIMITED],
        )
        cursor.execute(f"DROP OWNED BY {LIMITED}")
        cursor.execute(f"DROP ROLE {LIMITED}")


@pytest.mark.parametrize("pool_size", [8])
def test_a_pool_that_is_given_no_more_connections_waits_for_its_own(
    limited_role, pooled_api, pool_size
):
    for number in range(CLIENTS):  # both processes have one, and there is one more for the two
        book(pooled_api.url, f"an-earlier-{key_of(number)}")

    book_all_at_once(pooled_api.url)

    assert len(pids()) == 3
    assert pooled_api.complaints() == []


def test_a_wait_in_vain_means_that_the_database_is_away():
    with pool_of_one(patience_seconds=0.1) as pooled:
        pooled["default"].ensure_connection()
        with ThreadPoolExecutor(1) as thread, pytest.raises(OperationalError) as caught:
            thread.submit(lambda: pooled["default"].ensure_connection()).result()

    assert database_is_away(caught.value)


def test_who_waits_for_a_server_that_is_away_is_refused_at_once(tmp_path):
    began_at = time.monotonic()
    with pool_of_one(patience_seconds=30, HOST=str(tmp_path)) as pooled:
        for _ in range(2):  # the pool has counted no connection that it was refused
            with pytest.raises(OperationalError) as caught:
                pooled["default"].ensure_connection()
            assert database_is_away(caught.value)

    assert time.monotonic() - began_at < 5
