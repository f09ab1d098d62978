"""Load at a fixed rate, whoever answers or not: what comes in does not wait for what goes out.

wrk keeps a number of clients busy, who send less when they are answered late. Real clients come as
they come, give up, and send the same key again.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
    "Content-Length: {length}\r\nConnection: close\r\n\r\n"
)


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


async def _send(url: str, rate: float, seconds: float, rider: Callable[[int], str]) -> list[Try]:
    tries: list[Try] = []
    began_at = time.monotonic()
    clients = []
    for n in range(int(rate * seconds)):
        await asyncio.sleep(max(0, began_at + n / rate - time.monotonic()))
        clients.append(asyncio.create_task(_client(url, rider(n), began_at, tries)))
    await asyncio.gather(*clients)
    return tries


async def _client(url: str, rider: str, began_at: float, tries: list[Try]) -> None:
    host = urlsplit(url).netloc
    head = HEAD.format(host=host, rider=rider, key=uuid4(), length=len(BODY))
    for number in range(1 + RETRIES):
        sent_at = time.monotonic()
        status, retry_after = 0, float(RETRY_AFTER_SECONDS)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                status, retry_after = await _ask(host, head.encode() + BODY)
        tries.append(Try(number, sent_at - began_at, time.monotonic() - sent_at, status))
        if status and status not in (409, 503):
            return
        if number < RETRIES:
            await asyncio.sleep(retry_after)


async def _ask(host: str, request: bytes) -> tuple[int, float]:
    address, _, port = host.partition(":")
    reader, writer = await asyncio.open_connection(address, int(port))
    try:
        writer.write(request)
        answer = await reader.read()
    finally:
        writer.close()
    if not answer:
        return 0, RETRY_AFTER_SECONDS
    return int(answer[9:12]), next(_retry_after(answer), RETRY_AFTER_SECONDS)


def _retry_after(answer: bytes) -> Iterator[float]:
    for line in answer.partition(b"\r\n\r\n")[0].split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"retry-after":
            yield float(value)
