"""The conformance tool: what it finds of servers that keep their promises and that break one."""

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.etree import ElementTree

import pytest

from idempotency.conformance.asking import Api
from idempotency.conformance.reports import ask_all
from idempotency.conformance.scenarios import SCENARIOS
from idempotency.tests.conftest import ROOT

Said = tuple[int, bytes, dict[str, str]]


class Shop:
    """A server in a page, with all that keys promise, of which a subclass leaves something out."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.done: list[Any] = []
        self.stored: dict[Any, tuple[bytes, bytes]] = {}

    def answer(
        self, key: str | None, client: str, body: bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        if key is None or not 1 <= len(key) <= 255:
            return 400, b"{}", {}
        with self.lock:
            stored = self.stored.get((client, key.strip('"')))
            if stored is None:
                return 201, self.act(client, key.strip('"'), body), {"Idempotent-Replayed": "false"}
        if stored[0] != body:
            return 422, b"{}", {}
        return 201, stored[1], {"Idempotent-Replayed": "true"}

    def act(self, client: str, key: str, body: bytes) -> bytes:
        self.done.append(body)
        said = json.dumps({"number": len(self.done), "drawn": str(uuid.uuid4())}).encode()
        self.stored[client, key] = body, said
        return said


class Forgetful(Shop):
    def act(self, client: str, key: str, body: bytes) -> bytes:
        said = super().act(client, key, body)
        self.stored.clear()
        return said


class Racing(Shop):
    """It looks, and writes afterwards, without a lock between."""

    def answer(self, key, client, body):
        with self.lock:
            stored = self.stored.get((client, key))
        if stored is None:
            threading.Event().wait(0.05)
            with self.lock:
                return 201, self.act(client, key, body), {}
        return super().answer(key, client, body)


class Gullible(Shop):
    """The key is all that it looks at."""

    def answer(self, key, client, body):
        with self.lock:
            if stored := self.stored.get(("anybody", key)):
                return 201, stored[1], {"Idempotent-Replayed": "true"}
            return 201, self.act("anybody", key, body), {}


class Failing(Shop):
    def answer(self, key, client, body):
        if key and len(key) > 255:
            return 500, b"", {}
        return super().answer(key, client, body)


class Silent(Shop):
    """It answers whatever comes with the same words, and does nothing."""

    def answer(self, key, client, body):
        return (201, b"{}", {"Idempotent-Replayed": "true"}) if body else (200, b"{}", {})


class Shouting(Shop):
    def act(self, client, key, body):
        return super().act(client, key.upper(), body)

    def answer(self, key, client, body):
        return super().answer(key and key.upper(), client, body)


BROKEN = (Forgetful, Racing, Gullible, Failing, Silent, Shouting)


@contextmanager
def serving(shop: Shop) -> Iterator[Api]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            key, client = self.headers["Idempotency-Key"], self.headers["Authorization"]
            self.say(*shop.answer(key or None, client, body))

        def do_GET(self) -> None:
            self.say(200, json.dumps({"done": shop.done and len(shop.done)}).encode(), {})

        def say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.lower(), value)  # as many servers write them
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        yield Api(
            url,
            {"amount": 1},
            {"amount": 2},
            {"Authorization": "ann"},
            {"Authorization": "bob"},
            counted_at=f"{url}done",
        )
        server.shutdown()


@cache
def broken(kind: type[Shop]) -> set[str]:
    with serving(kind()) as api:
        return {each.name for each in ask_all(api) if each.result == "broken"}


def test_a_header_is_found_however_its_name_is_written():
    with serving(Shop()) as api:
        assert api.send("a-key-of-this-question").headers["Idempotent-Replayed"] == "false"


def test_a_server_that_keeps_every_promise_is_found_to():
    with serving(Shop()) as api:
        findings = ask_all(api)

    assert {each.name for each in findings if each.result == "broken"} == set()
    not_asked = [each.name for each in findings if each.result == "not asked"]
    assert not_asked == ["who is to come again is told when"]


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (Forgetful, {"a retry gets the first answer again", "a retry does nothing more"}),
        (Racing, {"of duplicates at once one is done"}),
        (Gullible, {"a key with another body is refused", "a strangers key is its own"}),
        (Failing, {"a key that is none is refused and never a 500"}),
        (Shouting, {"keys are compared in every character"}),
    ],
)
def test_a_server_that_breaks_one_is_found_out(kind, found):
    assert found <= broken(kind)


def test_every_question_is_broken_by_some_server():
    found = set().union(*(broken(kind) for kind in BROKEN))

    asked = {each.name for each in SCENARIOS}
    assert asked - found == {"who is to come again is told when"}  # here nobody is


def test_its_command_prints_a_report_and_exits_by_what_it_found(tmp_path):
    def run(api: Api, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(sys.executable, "-m", "idempotency.conformance", api.url),
                *("--body", '{"amount": 1}', "--other-body", '{"amount": 2}'),
                *("--header", "Authorization: ann", "--other-header", "Authorization: bob"),
                *("--count-url", str(api.counted_at), *more),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env={"PATH": ""},
        )

    junit = tmp_path / "junit.xml"
    with serving(Shop()) as api:
        right = run(api, "--junit", str(junit))
    with serving(Forgetful()) as api:
        wrong = run(api, "--json")

    assert (right.returncode, wrong.returncode) == (0, 1), right.stdout + right.stderr
    assert "ok    promise a retry gets the first answer again" in right.stdout
    assert len(ElementTree.parse(junit).findall("testcase")) == len(SCENARIOS)
    assert any(each["result"] == "broken" for each in json.loads(wrong.stdout))
