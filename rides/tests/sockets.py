"""Clients that no HTTP library would be: they send a part of a request, or none, or never read."""

import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import psutil

from rides.tests.booking import RIDER, book
from rides.tests.processes import Api
from sandbox.supervisor import PATIENCE_SECONDS

HEAD = (
    "POST /rides HTTP/1.1\r\nHost: localhost\r\nAuthorization: {rider}\r\n"
    "Idempotency-Key: {key}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    "Content-Length: 100\r\n\r\n"
)
SIX_BYTES = b"origin"


def connect(api: Api) -> socket.socket:
    return socket.create_connection(("127.0.0.1", api.port), PATIENCE_SECONDS)


def head() -> bytes:
    """A correct head, with a rider's credential and a key of its own."""
    return HEAD.format(rider=RIDER, key=uuid4()).encode()


@contextlib.contextmanager
def connections(api: Api, count: int, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    """That many connections, each of which has sent `sent` and no more."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(connect(api)) for _ in range(count)]
        for client in opened:
            client.sendall(sent)
        yield opened


@contextlib.contextmanager
def trickling(api: Api, count: int) -> Iterator[list[socket.socket]]:
    """Clients whose body comes a byte a second."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(api)) for _ in range(count)]
        for client in clients:
            client.sendall(head() + SIX_BYTES)
        over = threading.Event()
        thread = threading.Thread(target=_trickle, args=[clients, over])
        thread.start()
        try:
            yield clients
        finally:
            over.set()
            thread.join()


def _trickle(clients: list[socket.socket], over: threading.Event) -> None:
    while not over.wait(1):
        for client in clients:
            with contextlib.suppress(OSError):  # the server has had enough of it
                client.sendall(b"x")


def median_of_bookings(api: Api, count: int = 15) -> float:
    """Book one ride after the other, all of which succeed; return the median of their seconds."""
    times = []
    for _ in range(count):
        began_at = time.monotonic()
        answer = book(api.url, str(uuid4()))
        times.append(time.monotonic() - began_at)
        assert answer.status_code == 201, answer.text
    return statistics.median(times)


def memory_mb(api: Api) -> float:
    """Resident memory of the server's processes together."""
    main = psutil.Process(api.process.pid)
    processes = [main, *main.children(recursive=True)]
    return sum(process.memory_info().rss for process in processes) / 1_000_000


def was_closed(client: socket.socket) -> bool:
    """Whether the server has closed its side, with or without an answer before."""
    client.setblocking(False)
    try:
        while client.recv(4096):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True
