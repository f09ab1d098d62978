"""Which cell a request comes to, behind the HAProxy that production has: by its credential, or by
the name of the host, and without a look-up (`deploy/haproxy-cells.cfg`).
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from rides.tests.balancing import CELLS, PROGRAM, balancer
from sandbox.supervisor import free_port, wait_until

pytestmark = pytest.mark.skipif(not PROGRAM, reason="NOT TESTED: there is no haproxy")

SECRET = "0" * 12 + "_" + "0" * 64


class Cell(ThreadingHTTPServer):
    """A server that says which cell it is, and is well."""

    def __init__(self, number: int) -> None:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = str(number).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - as the library calls it

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Answer)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HAProxy before four cells."""
    with before_four_cells(tmp_path_factory.mktemp("cells")) as url:
        yield url


@contextlib.contextmanager
def before_four_cells(folder: Path, **variables: str) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        cells = [stack.enter_context(Cell(number)) for number in (1, 2, 3, 4)]
        for cell in cells:
            threading.Thread(target=cell.serve_forever, daemon=True).start()
            stack.callback(cell.shutdown)
        first, *further = [cell.server_address[1] for cell in cells]
        addresses = {
            f"RIDES_CELL_{number}": f"127.0.0.1:{port}" for number, port in enumerate(further, 2)
        }
        where = {"RIDES_CELLS": "1", **addresses, **variables}
        url = stack.enter_context(balancer(folder, (first, first), also=CELLS, **where))
        for number in (1, 2, 3, 4):
            wait_until(partial(comes_to, url, number))
        yield url


@pytest.fixture(scope="module")
def marked_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same with one address for all events."""
    folder: Path = tmp_path_factory.mktemp("marked")
    marks = folder / "marks"
    marks.write_text("".join(f"{mark} {number}\n" for number, mark in MARKS.items()))
    with before_four_cells(folder, RIDES_MARKS=str(marks)) as url:
        yield url


def comes_to(url: str, number: int) -> bool:
    return asked(url, f"cell-{number}.example.com") == str(number)


def asked(url: str, host: str = "rides.example.com", authorization: str | None = None) -> str:
    """Return which cell answered, or the status of HAProxy's own answer."""
    headers = {"Host": host} | ({"Authorization": authorization} if authorization else {})
    answer = requests.post(f"{url}/rides", data={"a": "b"}, headers=headers, timeout=10)
    return answer.text if answer.ok else str(answer.status_code)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("mode", ["test", "live"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_an_api_key_says_its_cell(url, number, mode, scheme):
    assert asked(url, authorization=f"{scheme} rr_{mode}_{number}_{SECRET}") == str(number)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_browser_and_stripes_events_come_by_the_cells_name(url, number):
    assert asked(url, f"cell-{number}.rides.example.com") == str(number)
    assert asked(url, f"cell-{number}.rides.example.com:8443") == str(number)
    assert asked(url, f"Cell-{number}.Rides.Example.com") == str(number)


def test_a_key_goes_to_its_own_cell_whatever_host_it_is_sent_to(url):
    assert asked(url, "cell-2.example.com", f"Bearer rr_test_3_{SECRET}") == "3"


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param(f"Bearer rr_test_99_{SECRET}", id="a cell that is not there"),
        pytest.param(f"Bearer rr_test_02_{SECRET}", id="a number written otherwise"),
        pytest.param("Bearer rr_test_2", id="no end"),
        pytest.param("Bearer rr_test__2_", id="no number"),
        pytest.param(f"Bearer rr_test_2/../3_{SECRET}", id="a path"),
        pytest.param("Basic cnJfdGVzdF8yXzA6", id="another scheme"),
        pytest.param("user@example.com", id="the demo's"),
        pytest.param("Bearer", id="nothing"),
    ],
)
def test_what_names_no_cell_is_the_firsts_where_it_is_a_wrong_credential(url, authorization):
    assert asked(url, authorization=authorization) == "1"


@pytest.mark.parametrize("host", ["cell-99.a.com", "cell-.a.com", "cell-2", "api-2.com"])
def test_a_host_that_names_no_cell_is_the_firsts(url, host):
    assert asked(url, host) == "1"


MARKS = {1: "6f1d2f0e-52c4-4a7e-9b1c-7d3a90e4c815", 3: "9f0c2f4e-2d53-4d9b-9d0b-7a3b1f6fd102"}


def event(metadata: object, **more: object) -> str:
    return json.dumps({"id": "evt_1", "data": {"object": {"metadata": metadata, **more}}})


@pytest.mark.parametrize(
    ("body", "number"),
    [
        pytest.param(event({"installation": MARKS[3]}), 3, id="of the third"),
        pytest.param(event({"installation": MARKS[1]}), 1, id="of the first"),
        pytest.param(event({"installation": "another's"}), 1, id="of nobody here"),
        pytest.param(event({}), 1, id="no mark"),
        pytest.param(event(None), 1, id="no metadata"),
        pytest.param(event({"installation": [MARKS[3]]}), 1, id="no text"),
        pytest.param("{", 1, id="no JSON"),
        pytest.param(event({"installation": MARKS[3]}, x="y" * 60_000), 3, id="long after it"),
        pytest.param(event({"x": "y" * 60_000, "installation": MARKS[3]}), 1, id="long before it"),
    ],
)
def test_one_address_at_stripe_passes_an_event_on_by_its_mark(marked_url, body, number):
    head = {"Host": "rides.example.com", "Stripe-Signature": "t=1,v1=0"}
    answer = requests.post(f"{marked_url}/stripe/webhook", data=body, headers=head, timeout=10)
    assert answer.text == str(number)


def test_a_mark_in_something_else_than_an_event_says_nothing(marked_url):
    body = event({"installation": MARKS[3]})
    answer = requests.post(f"{marked_url}/rides", data=body, timeout=10)
    assert answer.text == "1"


def test_without_cells_the_number_in_a_key_says_nothing(tmp_path):
    with Cell(1) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        port = one.server_address[1]
        with balancer(tmp_path, (port, port)) as url:
            wait_until(lambda: asked(url) == "1")
            assert asked(url, "cell-2.example.com", f"Bearer rr_test_2_{SECRET}") == "1"
        one.shutdown()


def test_the_health_of_a_cell_is_asked_by_its_name_and_is_no_others(tmp_path):
    with Cell(2) as two:
        threading.Thread(target=two.serve_forever, daemon=True).start()
        gone = free_port()
        where = dict.fromkeys(("RIDES_CELL_3", "RIDES_CELL_4"), f"127.0.0.1:{gone}")
        where |= {"RIDES_CELLS": "1", "RIDES_CELL_2": f"127.0.0.1:{two.server_address[1]}"}
        with balancer(tmp_path, (gone, gone), also=CELLS, **where) as url:
            for host in ("rides", "cell-1", "cell-3", "cell-99"):
                wait_until(partial(has_health, url, f"{host}.example.com", 503))
            wait_until(partial(has_health, url, "cell-2.example.com", 200))
            assert has_health(url, "cell-1.example.com", 503)
        two.shutdown()


def test_the_first_cell_has_its_health_by_its_name_too(url):
    for host in ("rides", "cell-1", "cell-4"):
        assert has_health(url, f"{host}.example.com", 200)


def has_health(url: str, host: str, status: int) -> bool:
    answer = requests.get(f"{url}/readyz", headers={"Host": host}, timeout=10)
    return answer.status_code == status
