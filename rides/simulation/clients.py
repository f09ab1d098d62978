"""Clients of the service, as in production: they book, they fail, some send again.

Each client is a thread with a connection of its own, so that a slow answer holds up nobody else.
Apart from the command, which only parses, prints and listens for signals.
"""

import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

import requests

from rides.simulation.tally import Tally

RIDER = "user@example.com"
CLIENTS_AT_ONCE = 64
SENDINGS_PER_CLIENT = 6
TIMEOUT_SECONDS = 60
FIRST_BACK_OFF_SECONDS = 0.5
LONGEST_BACK_OFF_SECONDS = 5.0
FAREWELL_SECONDS = 3.0  # for the answers still on their way when the simulation ends
LISTENER_SECONDS = 60.0
NO_ANSWER = "no answer"
SLICE_SECONDS = 0.1  # within which a wait ends once the simulation is stopped

dice = secrets.SystemRandom()


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What of an answer decides whether a client sends again."""

    is_retryable: bool
    retry_after_seconds: float


NEVER_MIND = Answer(is_retryable=False, retry_after_seconds=0)


class Simulation:
    """Traffic against one service until it is stopped, or for as long as it was asked for."""

    def __init__(self, *, url: str, failures: float, retries: float) -> None:
        """Prepare; `failures` and `retries` are shares of the clients, from 0 to 1."""
        self.url = f"{url.rstrip('/')}/rides"
        self.failures = failures
        self.retries = retries
        self.tally = Tally()
        self.is_unknown_rider = False
        """Whether the service refused the rider's credential: then no client goes on."""
        self._is_stopped = False
        self._slots = threading.Semaphore(CLIENTS_AT_ONCE)

    def stop(self) -> None:
        """Send nothing more; `run` then returns within `FAREWELL_SECONDS`.

        A bare flag, since a signal's handler calls this: an Event's lock could be held by the very
        code that the signal interrupted.
        """
        self._is_stopped = True

    def run(self, *, rate: float, seconds: float, on_progress: Callable[[], None]) -> None:
        """Start `rate` clients a second, at random moments, for `seconds` or until stopped.

        The first one waits until somebody listens at the address, for a minute at most.
        """
        self._wait_for_listener()
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at and not self._wait(dice.uniform(0, 2 / rate)):
            on_progress()
            if self._slots.acquire(timeout=0.5):
                threading.Thread(target=self._be_a_client, daemon=True).start()
        self.stop()
        self._see_clients_off()

    def _wait(self, seconds: float) -> bool:
        """Wait for so long or until stopped; return whether it is stopped."""
        ends_at = time.monotonic() + seconds
        while not self._is_stopped and (left := ends_at - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_SECONDS))
        return self._is_stopped

    def _wait_for_listener(self) -> None:
        address = urlsplit(self.url)
        port = address.port or (443 if address.scheme == "https" else 80)
        gives_up_at = time.monotonic() + LISTENER_SECONDS
        while time.monotonic() < gives_up_at and not self._is_stopped:
            try:
                socket.create_connection((str(address.hostname), port), timeout=1).close()
            except OSError:
                self._wait(SLICE_SECONDS)
            else:
                return

    def _see_clients_off(self) -> None:
        """Wait for every client to end, a while; those that have not end with the process."""
        deadline = time.monotonic() + FAREWELL_SECONDS
        for _ in range(CLIENTS_AT_ONCE):
            self._slots.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def _be_a_client(self) -> None:
        try:
            with requests.Session() as session:
                session.headers.update(
                    {"Authorization": RIDER, "Idempotency-Key": secrets.token_hex(32)}
                )
                self._book(session, random_ride())
        finally:
            self._slots.release()

    def _book(self, session: requests.Session, ride: dict[str, str]) -> None:
        """Book one ride. A client that retries takes its first answer for lost and sends again.

        It goes on for as long as the answer is retryable; so a success is seen twice, the
        second time as a replay. `raise_error` is sent once.
        """
        fails = dice.random() < self.failures
        answer = self._send(session, {**ride, "raise_error": "true"} if fails else ride)
        if dice.random() >= self.retries:
            return
        for _ in range(SENDINGS_PER_CLIENT - 1):
            if self._wait(answer.retry_after_seconds):
                return
            answer = self._send(session, ride)
            if not answer.is_retryable:
                return

    def _send(self, session: requests.Session, ride: dict[str, str]) -> Answer:
        """Send the request until there is an answer; with the same key that is safe."""
        pause = FIRST_BACK_OFF_SECONDS
        while True:
            sent_at = time.monotonic()
            try:
                response = session.post(self.url, data=ride, timeout=TIMEOUT_SECONDS)
            except requests.RequestException:
                self.tally.count(NO_ANSWER, time.monotonic() - sent_at)
            else:
                return self._answer_of(response, time.monotonic() - sent_at)
            if self._wait(pause * dice.uniform(0.5, 1.0)):
                return NEVER_MIND
            pause = min(2 * pause, LONGEST_BACK_OFF_SECONDS)

    def _answer_of(self, response: requests.Response, seconds: float) -> Answer:
        self.tally.count(str(response.status_code), seconds)
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            self.is_unknown_rider = True
            self.stop()
        if response.headers.get("Idempotent-Replayed") == "true":
            self.tally.count_replay()
        retry_after = response.headers.get("Retry-After", "")
        return Answer(
            is_retryable=response.status_code in (202, 409) or response.status_code >= 500,
            retry_after_seconds=int(retry_after)
            if retry_after.isdigit()
            else FIRST_BACK_OFF_SECONDS,
        )


def random_ride() -> dict[str, str]:
    """Return the form fields of a flight between two places on Earth."""
    return {
        "origin_lat": f"{dice.uniform(-90, 90):.4f}",
        "origin_lon": f"{dice.uniform(-180, 180):.4f}",
        "target_lat": f"{dice.uniform(-90, 90):.4f}",
        "target_lon": f"{dice.uniform(-180, 180):.4f}",
    }
