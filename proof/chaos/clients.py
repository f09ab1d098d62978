"""The clients of a chaos run: they book, several of them with one key, and do as they are told.

Whoever gets no final answer asks again. Some hang up before there is an answer, and some keys are
left to themselves once they were asked for. What each was told is kept, because in the end all of
it must fit together.
"""

import contextlib
import http.client
import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlencode

from idempotency.testing import Answer

PATIENCE_SECONDS = 20.0
LONGEST_PAUSE_SECONDS = 1.0
HANGS_UP_AFTER_SECONDS = (0.001, 0.2)
DUPLICATES = (1, 2, 2, 3, 4, 8, 16)
A_CROWD = 256
A_CROWD_EVERY = 400  # keys
LEFT = 0.3  # of the keys that are not rides

FORM = {
    "origin_lat": "37.7793",
    "origin_lon": "-122.4193",
    "target_lat": "34.0522",
    "target_lon": "-118.2437",
}
TAKEN_OVER = b"taken this request over"


@dataclass(frozen=True)
class Request:
    """What is asked for: the address, and the form's fields."""

    path: str
    fields: dict[str, str]


Kind = Callable[[str], Request]
"""What is asked for under a key."""


def a_ride(key: str) -> Request:
    return Request("/rides", FORM)


@dataclass(frozen=True)
class Booking:
    """One key, the rider who sends it, what it asks for, and what came back."""

    rider: str
    kind: Kind = a_ride
    is_left: bool = False
    """Whether its clients ask once each, and leave the rest to the completer."""
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    answers: list[Answer] = field(default_factory=list)


class Clients:
    """Keeps so many keys going at once until it is told to stop."""

    def __init__(
        self, port: int, riders: list[str], seed: int, kinds: Sequence[Kind] = (a_ride,)
    ) -> None:
        self.bookings: list[Booking] = []
        self.told: Counter[str] = Counter()
        self.booked_at: list[float] = []
        """When each ride was booked, by the monotonic clock; a replay books none."""

        self.refused_at: list[float] = []
        """When each request was sent whose answer was 503."""

        self._port = port
        self._riders = riders
        self._kinds = kinds
        self._dice = random.Random(seed)  # noqa: S311 - repeatable, and nothing secret
        self._lock = threading.Lock()

    def run(self, at_once: int, stop: threading.Event) -> None:
        with ThreadPoolExecutor(at_once) as keys:
            for _ in range(at_once):
                keys.submit(self._book_one_after_the_other, stop)

    def bookings_of(self, kind: Kind) -> list[Booking]:
        return [booking for booking in self.bookings if booking.kind is kind]

    def ask(self, booking: Booking, *, patience: float = PATIENCE_SECONDS) -> Answer | None:
        """Send the request once. None where there was no answer."""
        sent_at = time.monotonic()
        try:
            answer = send(self._port, booking, patience)
        except (OSError, http.client.HTTPException):
            self._count("no answer" if patience == PATIENCE_SECONDS else "hung up")
            return None
        self._count(str(answer.status), is_replay=answer.is_replay, body=answer.body)
        booking.answers.append(answer)
        if answer.status == HTTPStatus.CREATED and not answer.is_replay:
            self.booked_at.append(time.monotonic())
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.refused_at.append(sent_at)
        return answer

    def _book_one_after_the_other(self, stop: threading.Event) -> None:
        while not stop.is_set():
            with self._lock:
                kind = self._dice.choice(self._kinds)
                is_left = kind is not a_ride and self._dice.random() < LEFT
                booking = Booking(self._dice.choice(self._riders), kind, is_left)
                self.bookings.append(booking)
                is_crowd = len(self.bookings) % A_CROWD_EVERY == 0
                count = A_CROWD if is_crowd else self._dice.choice(DUPLICATES)
                seed = self._dice.randrange(1 << 30)
            with ThreadPoolExecutor(count) as clients:
                for number in range(count):
                    dice = random.Random(seed + number)  # noqa: S311
                    clients.submit(self._be_a_client, booking, dice, stop)

    def _be_a_client(self, booking: Booking, dice: random.Random, stop: threading.Event) -> None:
        if dice.random() < 0.1:
            self.ask(booking, patience=dice.uniform(*HANGS_UP_AFTER_SECONDS))
        pause = 0.05
        while not stop.is_set():
            answer = self.ask(booking)
            if booking.is_left or (answer is not None and is_the_last(answer)):
                return
            stop.wait(pause * dice.uniform(0.5, 1.5))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _count(self, what: str, *, is_replay: bool = False, body: bytes = b"") -> None:
        with self._lock:
            self.told[what] += 1
            self.told["replays"] += is_replay
            self.told["fenced"] += TAKEN_OVER in body


def is_the_last(answer: Answer) -> bool:
    """Whether it is no use to ask again."""
    return answer.is_final or b"needs_review" in answer.body


def send(port: int, booking: Booking, patience: float) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    request = booking.kind(booking.key)
    headers = {
        "Authorization": booking.rider,
        "Idempotency-Key": booking.key,
        "Content-Type": "application/x-www-form-urlencoded",
    }
    with contextlib.closing(connection):
        connection.request("POST", request.path, urlencode(request.fields), headers)
        response = connection.getresponse()
        body = response.read()
    is_replay = response.headers.get("Idempotent-Replayed") == "true"
    is_pending = response.status == HTTPStatus.ACCEPTED and "Retry-After" in response.headers
    return Answer(response.status, body, is_replay, is_pending)


def wait_until_up(port: int, within_seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException, json.JSONDecodeError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            with contextlib.closing(connection):
                connection.request("GET", "/rides")
                connection.getresponse()
                return
        time.sleep(0.05)
    raise TimeoutError("the API does not answer")
