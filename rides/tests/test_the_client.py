"""`examples/client/rocketrides.py`: what docs/clients.md asks of a client, against the service."""

import importlib.util
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType

import pytest

from rides.apikeys.keys import issue_key
from rides.models import Ride
from rides.tests.booking import CHARGING, COORDINATES
from rocketrides.environment import BASE_DIR

pytestmark = pytest.mark.django_db(transaction=True)

RIDE = {name: float(value) for name, value in COORDINATES.items()}


@pytest.fixture(scope="module")
def rocketrides() -> ModuleType:
    path = BASE_DIR / "examples/client/rocketrides.py"
    spec = importlib.util.spec_from_file_location("client_of_rocketrides", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def client(rocketrides, live_server, rider, monkeypatch):
    monkeypatch.setattr(rocketrides, "FIRST_PAUSE_SECONDS", 0.01)
    _, api_key = issue_key(rider, "the test")
    return rocketrides.Client(live_server.url, api_key, patience_seconds=20)


@pytest.fixture
def key() -> str:
    return str(uuid.uuid4())


def test_it_books_once_however_often_it_is_asked(client, key, stand_in):
    first, again = client.book(key, **RIDE), client.book(key, **RIDE)

    assert (first.status, first.is_replayed, again.is_replayed) == (201, False, True)
    assert first.body == again.body
    assert Ride.objects.count() == len(stand_in.charges()) == 1


def test_an_unknown_outcome_is_asked_about_again_until_it_is_known(client, key, stand_in):
    stand_in.add_fault("reset_after", path=CHARGING, times=2)

    answer = client.book(key, **RIDE)

    assert answer.status == 201
    assert len(stand_in.charges()) == 1


def test_a_declined_card_is_final_and_no_error_of_the_clients(client, key, stand_in):
    stand_in.add_fault("decline", path=CHARGING, times=1)

    answer = client.book(key, **RIDE)

    assert (answer.status, answer.body["code"]) == (402, "card_declined")
    assert client.book(key, **RIDE).is_replayed


def test_a_request_that_is_wrong_is_not_tried_again(client, key):
    began_at = time.monotonic()

    answer = client.book(key, **{**RIDE, "origin_lat": 91})

    assert (answer.status, answer.body["code"]) == (422, "parameters_invalid")
    assert time.monotonic() - began_at < 5


def test_what_does_not_end_in_time_says_with_which_key_to_go_on(rocketrides, client, key, stand_in):
    stand_in.add_fault("conflict", path=CHARGING)
    client._patience_seconds = 0.5

    with pytest.raises(rocketrides.Unfinished) as unfinished:
        client.book(key, **RIDE)

    assert unfinished.value.key == key
    assert client.standing(key)["state"] == "interrupted"
    stand_in.clear_faults()
    client._patience_seconds = 20
    assert client.book(key, **RIDE).status == 201
    assert client.standing(key)["answer"]["status"] == 201


def test_of_a_key_that_never_arrived_there_is_no_standing(client, key):
    assert client.standing(key) is None


def test_a_page_of_a_proxys_is_no_answer(rocketrides, key):
    class Proxy(BaseHTTPRequestHandler):
        asked = 0

        def do_POST(self):
            type(self).asked += 1
            final = self.asked > 2
            content = b'{"message": "booked"}' if final else b"<h1>Bad gateway</h1>"
            self.send_response(201 if final else 502)
            self.send_header("idempotent-replayed", "true")  # as servers of HTTP/2 write names
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        client = rocketrides.Client(f"http://127.0.0.1:{server.server_port}", "rr_test_1_x")
        answer = client.book(key, **RIDE)
        server.shutdown()

    assert (answer.status, Proxy.asked, answer.is_replayed) == (201, 3, True)
