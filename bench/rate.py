"""Load at a fixed rate, whoever answers or not: what comes in does not wait for what goes out.

wrk keeps a number of clients busy, who send less when they are answered late. Real clients come as
they come, give up, and send the same key again.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import uuid4

from bench.load import RIDERS

PATIENCE_SECONDS = 5
RETRIES = 3
RETRY_AFTER_SECONDS = 1  # where no answer says otherwise
BODY = b"origin_lat=37.7793&origin_lon=-122.4192&target_lat=37.6213&target_lon=-122.379"
HEAD = (
    "POST /rides HTTP/1.1\r\nHost: {host}\r\nAuthorization: {rider}\r\n"
    "Idempotency-Key: {key}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    "Content-Length: {length}\r\n\r\n"
)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Try:
    """One sending of a request. `status` is 0 where its client gave up, or was cut off."""

    number: int
    sent_at: float
    seconds: float
    status: int


def rider_of(n: int) -> str:
    return f"rider-{n % RIDERS}@example.com"


def send_at_rate(
    url: str, *, rate: float, seconds: float, rider: Callable[[int], str] = rider_of
) -> list[Try]:
    """Begin `rate` new bookings a second, and return every try of each, in the order of its end."""
    return asyncio.run(_send(url, rate, seconds, rider))


def served_within(tries: Sequence[Try], limit: float, begin: float, end: float) -> float:
    """Return how many rides a second were booked by tries that took at most `limit` seconds, and
    were answered between two moments."""
    good = [t for t in tries if t.status == 201 and t.seconds <= limit]
    return sum(begin <= t.sent_at + t.seconds < end for t in good) / (end - begin)


@dataclass
class _Clients:
    """All clients of a run. Connections are kept and shared among them, as a balancer does it."""

    host: str
    began_at: float
    tries: list[Try] = field(default_factory=list)
    idle: list[Connection] = field(default_factory=list)

    async def book(self, rider: str) -> None:
        """Be one client: book a ride, and try again as the contract says."""
        head = HEAD.format(host=self.host, rider=rider, key=uuid4(), length=len(BODY))
        for number in range(1 + RETRIES):
            sent_at = time.monotonic()
            status, retry_after = 0, float(RETRY_AFTER_SECONDS)
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    status, retry_after = await self.ask(head.encode() + BODY)
            took = time.monotonic() - sent_at
            self.tries.append(Try(number, sent_at - self.began_at, took, status))
            if status and status not in (409, 503):
                return
            if number < RETRIES:
                await asyncio.sleep(retry_after)

    async def ask(self, request: bytes) -> tuple[int, float]:
        """Return the status, and when to come back. A connection that is given up is closed."""
        address, _, port = self.host.partition(":")
        reader, writer = (
            self.idle.pop() if self.idle else await asyncio.open_connection(address, int(port))
        )
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(_value_of(b"content-length", head) or 0))
        except BaseException:
            writer.close()
            raise
        self.idle.append((reader, writer))
        return int(head[9:12]), float(_value_of(b"retry-after", head) or RETRY_AFTER_SECONDS)


async def _send(url: str, rate: float, seconds: float, rider: Callable[[int], str]) -> list[Try]:
    clients = _Clients(urlsplit(url).netloc, time.monotonic())
    tasks = []
    for n in range(int(rate * seconds)):
        await asyncio.sleep(max(0, clients.began_at + n / rate - time.monotonic()))
        tasks.append(asyncio.create_task(clients.book(rider(n))))
    await asyncio.gather(*tasks)
    for _, writer in clients.idle:
        writer.close()
    return clients.tries


def _value_of(name: bytes, head: bytes) -> bytes:
    _, found, rest = head.lower().partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0] if found else b""
