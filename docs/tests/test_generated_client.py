"""A client that a generator makes of docs/openapi.json, asked to book without a line changed."""

import importlib
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from idempotency.tests.conftest import ROOT
from rides.apikeys.keys import issue_key
from rides.tests.conftest import rider, rider_with

__all__ = ["rider", "rider_with"]

pytest.importorskip(
    "openapi_python_client",
    reason="NOT TESTED: the generated client. It needs docs/requirements.txt: make test-docs",
)

NAME = "rocketrides_client"
[SHOWN] = re.findall(r"^```python\n(.+?)^```", (ROOT / "docs/clients.md").read_text(), re.M | re.S)
PLACES = {"origin_lat": 37.7793, "origin_lon": -122.4193, "target_lat": 34.0522, "target_lon": -118}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The package, made with each warning of the generator an error."""
    folder = tmp_path_factory.mktemp("generated")
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it runs ruff
    command = ["generate", "--path", str(ROOT / "docs/openapi.json"), "--fail-on-warning"]
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", *command),
            *("--meta", "none", "--output-path", str(folder / NAME)),
        ],
        cwd=folder,
        env={**os.environ, "PATH": programs},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(folder)
        yield importlib.import_module(NAME)


@pytest.fixture
def api_key(rider):
    _, text = issue_key(rider, "the test")
    return text


@pytest.fixture
def client(generated, live_server, api_key):
    return generated.AuthenticatedClient(base_url=live_server.url, token=api_key)


def part(name: str) -> ModuleType:
    return importlib.import_module(f"{NAME}.{name}")


@pytest.mark.django_db(transaction=True)
def test_a_generated_client_books_once_and_finds_its_ride_and_its_request(client, stand_in):
    book, key = part("api.default.book_ride").sync_detailed, str(uuid.uuid4())
    places = part("models").BookRideJsonBody(**PLACES)

    first, again = (book(client=client, body=places, idempotency_key=key) for _ in range(2))
    [ride] = part("api.default.list_rides").sync(client=client).rides
    standing = part("api.default.show_request").sync(client=client, idempotency_key=key)

    assert (first.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
    assert first.content == again.content
    assert first.parsed.message == "Payment accepted. Your pilot is on their way!"
    assert len(stand_in.charges()) == 1
    assert (ride.status, ride.amount_cents) == ("paid", 2000)
    assert part("api.default.show_ride").sync(ride.id, client=client) == ride
    assert standing.state == "finished"
    assert standing.answer.body.encode() == first.content


@pytest.mark.django_db(transaction=True)
def test_a_generated_client_reads_a_refusal_by_its_code(client, stand_in):
    book, key = part("api.default.book_ride").sync, str(uuid.uuid4())
    body_of = part("models").BookRideJsonBody

    book(client=client, body=body_of(**PLACES), idempotency_key=key)
    refused = book(client=client, body=body_of(**{**PLACES, "origin_lat": 1}), idempotency_key=key)
    invalid = book(
        client=client, body=body_of(**{**PLACES, "origin_lat": 91}), idempotency_key=f"{key}-2"
    )

    assert (refused.code, refused.retryable) == ("parameters_mismatch", False)
    assert invalid.code == "parameters_invalid"
    assert "origin_lat" in invalid.error


@pytest.mark.django_db(transaction=True)
def test_the_lines_of_the_page_book_a_ride(generated, live_server, api_key, stand_in):
    lines = SHOWN.replace("https://rides.example.com", live_server.url)
    names = {"key": str(uuid.uuid4())}

    exec(lines.replace("rr_live_1_…", api_key), names)

    assert names["answer"].status_code == 201
