"""What carries the calls to Stripe: how long, over which connection, and how often."""

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import pycurl
import pytest
import stripe

from rides.payments.transport import CurlClient, NotSendable

ANSWER = b"HTTP/1.1 200 OK\r\nRequest-Id: req_1\r\nContent-Length: 2\r\n\r\n{}"
CALL_TIMEOUT_SECONDS = 1.0


class Peer:
    """A server that does with each request what it is told to, and counts."""

    def __init__(self) -> None:
        self.requests = 0
        self.connections = 0
        self.heads: list[list[bytes]] = []
        self.thread = threading.local()
        self.reply: Callable[[socket.socket], None] = lambda peer: peer.sendall(ANSWER)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1/payment_intents"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while b"amount=" in (request := connection.recv(65536)):
                self.thread.request = request
                self.requests += 1
                self.heads.append(request.partition(b"\r\n\r\n")[0].split(b"\r\n"))
                self.reply(connection)


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.listener.close()


@pytest.fixture
def post(peer):
    sender = CurlClient(connect_timeout=1, call_timeout=CALL_TIMEOUT_SECONDS)
    return lambda: sender.request("post", peer.url, {"Idempotency-Key": "k"}, "amount=2000")


def test_calls_of_a_thread_share_a_connection(peer, post):
    answers = [post() for _ in range(3)]

    assert [(body, status, head["request-id"]) for body, status, head in answers] == [
        ("{}", 200, "req_1")
    ] * 3
    assert (peer.requests, peer.connections) == (3, 1)


def fork(work: Callable[[], object]) -> int:
    child = os.fork()
    if not child:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def do_in_a_child(work: Callable[[], object]) -> None:
    assert os.waitpid(fork(work), 0)[1] == 0


def test_a_forked_process_has_a_connection_of_its_own_and_leaves_the_parents_open(peer, post):
    post()

    def work() -> None:
        for _ in range(3):
            assert post()[1] == 200

    do_in_a_child(work)
    assert (peer.requests, peer.connections) == (4, 2)
    assert post()[1] == 200
    assert (peer.requests, peer.connections) == (5, 2)


def test_a_forked_process_that_drops_its_connection_leaves_the_parents_open(peer):
    sender = CurlClient(connect_timeout=1, call_timeout=CALL_TIMEOUT_SECONDS)
    post = partial(sender.request, "post", peer.url, {}, "amount=2000")
    post()

    do_in_a_child(sender.drop_connection)
    post()

    assert (peer.requests, peer.connections) == (2, 1)


def test_parent_and_children_that_call_at_once_get_each_their_own_answers(peer):
    """Two of a process's own digits go out with each call, and come back."""
    sender = CurlClient(connect_timeout=1, call_timeout=5)

    def echo(connection: socket.socket) -> None:
        time.sleep(0.01)
        connection.sendall(ANSWER[:-2] + peer.thread.request[-2:])

    def ask_often(own: int) -> None:
        for _ in range(20):
            assert sender.request("post", peer.url, {}, f"amount={own}")[0] == str(own)

    peer.reply = echo
    ask_often(10)
    children = [fork(partial(ask_often, own)) for own in (11, 12, 13)]
    ask_often(10)

    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert peer.connections == 4


def test_the_head_on_the_wire_has_each_field_on_a_line_and_the_length(peer, post):
    post()

    [head] = peer.heads
    assert head[0] == b"POST /v1/payment_intents HTTP/1.1"
    assert {b"Idempotency-Key: k", b"Content-Length: 11"} <= set(head)


@pytest.mark.parametrize(
    "fields",
    [
        {"Authorization": "Bearer canary\n"},
        {"Authorization": "Bearer canary\r\nX-Other: 1"},
        {"Authorization": "Bearer canary\x00"},
        {"Authorization": "Bearer canary\x7f"},
        {"Authorization": "Bearer canaryé"},
        {"Authorization": "Bearer canary\ud800"},
        {"X-Other: canary\n": "1"},
    ],
)
def test_a_field_that_no_head_can_carry_is_never_sent(peer, fields):
    sender = CurlClient(connect_timeout=1, call_timeout=CALL_TIMEOUT_SECONDS)

    with pytest.raises(NotSendable) as refusal:
        sender.request("post", peer.url, fields, "amount=2000")

    assert not refusal.value.should_retry
    assert "Bearer" not in str(refusal.value)
    assert peer.connections == 0


def test_an_address_that_no_head_can_carry_is_never_asked(peer):
    sender = CurlClient(connect_timeout=1, call_timeout=CALL_TIMEOUT_SECONDS)

    with pytest.raises(NotSendable):
        sender.request("post", f"{peer.url}é", {}, "amount=2000")

    assert peer.connections == 0


def test_threads_do_not_wait_for_each_other(peer, post):
    both_are_there = threading.Barrier(2, timeout=CALL_TIMEOUT_SECONDS)

    def reply(connection: socket.socket) -> None:
        both_are_there.wait()
        connection.sendall(ANSWER)

    peer.reply = reply
    other = threading.Thread(target=post)
    other.start()

    assert post()[1] == 200
    other.join()
    assert (peer.requests, peer.connections) == (2, 2)


def test_a_kept_connection_that_breaks_does_not_send_the_call_again_by_itself(peer, post):
    post()
    peer.reply = lambda connection: connection.shutdown(socket.SHUT_RDWR)

    with pytest.raises(stripe.APIConnectionError) as caught:
        post()

    assert caught.value.should_retry
    assert peer.requests == 2


def test_an_answer_that_trickles_in_does_not_prolong_the_call(peer, post):
    def trickle(connection: socket.socket) -> None:
        for byte in ANSWER:
            connection.sendall(bytes([byte]))
            time.sleep(CALL_TIMEOUT_SECONDS / 10)

    peer.reply = trickle
    began_at = time.monotonic()
    with pytest.raises(stripe.APIConnectionError, match="timed out"):
        post()

    assert time.monotonic() - began_at < 2 * CALL_TIMEOUT_SECONDS


def test_an_answer_that_ends_too_early_is_none(peer, post):
    def cut_off(connection: socket.socket) -> None:
        connection.sendall(ANSWER[:-1])
        connection.shutdown(socket.SHUT_RDWR)

    peer.reply = cut_off

    with pytest.raises(stripe.APIConnectionError):
        post()


def test_bytes_that_are_no_text_are_an_answer_all_the_same(peer, post):
    peer.reply = lambda connection: connection.sendall(ANSWER[:-2] + b"\xff\xfe")

    assert post()[0] == "��"


def test_the_certificates_are_found_in_a_folder_of_any_alphabet(tmp_path, monkeypatch):
    bundle = shutil.copy(stripe.ca_bundle_path, tmp_path / "prôjekt, 日本.crt")
    monkeypatch.setattr(stripe, "ca_bundle_path", str(bundle))
    sender = CurlClient(connect_timeout=1, call_timeout=CALL_TIMEOUT_SECONDS)

    with pytest.raises(stripe.APIConnectionError) as failure:
        sender.request("get", "https://127.0.0.1:1/", {})

    assert f"libcurl {pycurl.E_COULDNT_CONNECT}" in str(failure.value)


def test_a_proxy_is_asked_for_stripe_and_never_for_this_machine(peer, post, monkeypatch):
    proxy = Peer()
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    sender = CurlClient(connect_timeout=1, call_timeout=CALL_TIMEOUT_SECONDS)

    assert post()[1] == 200
    assert (peer.requests, proxy.requests) == (1, 0)
    assert sender.request("post", "http://stripe.invalid/", {}, "amount=2000")[1] == 200
    assert proxy.requests == 1
    proxy.listener.close()
