"""The stand-in's control address serves programs of this machine, and no page of another site."""

import json
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from sandbox.stripe.control import StandIn


def ask(stand_in: StandIn, method: str, path: str, **headers: str) -> tuple[int, dict]:
    address = urlsplit(stand_in.base_url).netloc
    connection = HTTPConnection(address, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    given = {"Host": address} | {name.replace("_", "-"): text for name, text in headers.items()}
    for name, text in given.items():
        connection.putheader(name, text)
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.com"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "evil.example.com"},
        {"Host": "evil.example.com:12111", "Origin": "http://evil.example.com:12111"},
        {"Host": ""},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/_sandbox/reset"), ("DELETE", "/_sandbox/faults"), ("GET", "/_sandbox/charges")],
)
def test_a_page_of_another_site_is_refused(stand_in: StandIn, method, path, headers) -> None:
    stand_in.add_fault("rate_limit")

    status, said = ask(stand_in, method, path, **headers)

    assert (status, list(said)) == (403, ["error"])
    assert len(stand_in.faults()) == 1


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_a_program_of_this_machine_is_served(stand_in: StandIn, name: str) -> None:
    port = urlsplit(stand_in.base_url).port

    assert ask(stand_in, "POST", "/_sandbox/reset", Host=f"{name}:{port}")[0] == 200


def test_its_own_page_is_served(stand_in: StandIn) -> None:
    assert ask(stand_in, "GET", "/_sandbox/health", Origin=stand_in.base_url)[0] == 200
