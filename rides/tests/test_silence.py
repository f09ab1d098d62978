"""A PostgreSQL that falls silent is given up in seconds, where TCP would try for a quarter of an
hour: by the API, its pool, and the workers."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import connection

from rides.tests.booking import book
from rides.tests.processes import environment, running_api, running_command
from rides.tests.silence import WHY_NOT, Relay, relay_that_can_fall_silent
from sandbox import postgres
from sandbox.supervisor import wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("own_session", "riders"),
    pytest.mark.skipif(bool(WHY_NOT), reason=f"NOT TESTED: {WHY_NOT}"),
]

SILENCE_SECONDS = 4
GIVEN_UP_WITHIN_SECONDS = 15.0
CLIENTS = 24


@pytest.fixture
def relay(stand_in, monkeypatch) -> Iterator[Relay]:
    folder = Path(connection.settings_dict["HOST"])
    with relay_that_can_fall_silent(folder / f".s.PGSQL.{postgres.PORT}") as relay:
        place = urlsplit(environment(stand_in)["DATABASE_URL"])
        url = place._replace(netloc=f"postgres@{relay.host}", query="").geturl()
        monkeypatch.setattr("rides.tests.processes.database_url", url)
        monkeypatch.setenv("DATABASE_SILENCE_SECONDS", str(SILENCE_SECONDS))
        yield relay


def book_all_at_once(url: str, keys: str) -> list[int]:
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = clients.map(lambda n: book(url, f"{keys}-of-client-{n:09}"), range(CLIENTS))
        return [answer.status_code for answer in answers]


def test_a_server_that_falls_silent_is_given_up_by_all(relay, stand_in, tmp_path):
    with (
        running_api(stand_in, tmp_path) as api,
        running_command("enqueuer", stand_in=stand_in, folder=tmp_path) as enqueuer,
        running_command("completer", stand_in=stand_in, folder=tmp_path) as completer,
    ):
        wait_until(lambda: "started" in enqueuer.log.read_text())
        wait_until(lambda: "started" in completer.log.read_text())
        assert set(book_all_at_once(api.url, "before")) == {201}

        assert relay.fall_silent() > 3
        began_at = time.monotonic()
        during = book_all_at_once(api.url, "during")
        took = time.monotonic() - began_at
        for worker in (enqueuer, completer):
            wait_until(lambda worker=worker: "batch failed, next in 1 s" in worker.log.read_text())
        workers_took = time.monotonic() - began_at

        assert set(during) <= {201, 503}
        assert max(took, workers_took) < GIVEN_UP_WITHIN_SECONDS
        assert set(book_all_at_once(api.url, "after")) == {201}
        assert set(book_all_at_once(api.url, "during")) == {201}
