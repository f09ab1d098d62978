"""Pages of other sites that ask the API: none may unless settings say so, then by an API key."""

from collections.abc import Iterator

import pytest
import requests

from rides.tests.booking import COORDINATES, KEY, RIDER
from rides.tests.processes import GRANIAN, Api, running_api

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

SITE = "https://book.example.com"
PREFLIGHT = {
    "Origin": SITE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, idempotency-key, content-type",
}


@pytest.fixture(scope="module")
def open_api(stand_in_process, django_db_setup, tmp_path_factory) -> Iterator[Api]:
    command = f"export CORS_ALLOWED_ORIGINS={SITE}; {GRANIAN}"
    with running_api(stand_in_process, tmp_path_factory.mktemp("open"), command) as api:
        yield api


def send(url: str, origin: str, **headers: str) -> requests.Response:
    sent = {"Authorization": RIDER, "Idempotency-Key": KEY, "Origin": origin, **headers}
    return requests.post(f"{url}/rides", json=COORDINATES_AS_NUMBERS, headers=sent, timeout=20)


COORDINATES_AS_NUMBERS = {name: float(value) for name, value in COORDINATES.items()}


def test_a_page_of_an_allowed_site_books_and_reads_what_it_needs(open_api, stand_in):
    asked = requests.options(f"{open_api.url}/rides", headers=PREFLIGHT, timeout=20)
    answer = send(open_api.url, SITE)

    assert asked.status_code == 200
    assert "idempotency-key" in asked.headers["Access-Control-Allow-Headers"]
    assert answer.status_code == 201
    assert answer.headers["Access-Control-Allow-Origin"] == SITE
    exposed = answer.headers["Access-Control-Expose-Headers"]
    assert {"Idempotent-Replayed", "Retry-After", "Location"} <= set(exposed.split(", "))
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_an_answer_of_the_door_can_be_read_too(open_api):
    answer = requests.post(
        f"{open_api.url}/rides",
        data=b"x" * 20_000,
        headers={"Authorization": RIDER, "Idempotency-Key": KEY, "Origin": SITE},
        timeout=20,
    )

    assert answer.status_code == 413
    assert answer.headers["Access-Control-Allow-Origin"] == SITE


def test_a_page_of_another_site_reads_nothing(open_api, stand_in):
    answer = send(open_api.url, "https://elsewhere.example.com")

    assert "Access-Control-Allow-Origin" not in answer.headers


def test_without_the_setting_no_page_may_ask(api, stand_in):
    asked = requests.options(f"{api.url}/rides", headers=PREFLIGHT, timeout=20)

    assert "Access-Control-Allow-Origin" not in asked.headers
    assert "Access-Control-Allow-Origin" not in send(api.url, SITE).headers
