"""A client of Rocket Rides in one file, of Python's standard library: copy it.

It shows what a client owes an API with idempotency keys: one key for each thing that is wanted, the
same key with each try, and a wait between two tries. docs/clients.md says why, answer by answer.

    client = Client("https://rides.example.com", "rr_live_1_…")
    answer = client.book(key, origin_lat=37.7793, origin_lon=-122.4193, target_lat=…, target_lon=…)
"""

import json
import random
import time
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

CALL_SECONDS = 90.0
"""Longer than the service takes at most, so that a client hardly ever gives up on a call."""

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0
NOT_FINAL = 202


@dataclass(frozen=True)
class Answer:
    """A final answer: the same for every try with the same key."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def is_replayed(self) -> bool:
        return self.headers.get("Idempotent-Replayed") == "true"


class Unfinished(Exception):
    """No final answer came in time. The thing may have happened, or may yet: keep the key, and go
    on later, by `book` with the same key, or ask `standing`.
    """

    def __init__(self, key: str, last: Answer | None) -> None:
        super().__init__(f"no final answer yet for the key {key}")
        self.key = key
        self.last = last


class Client:
    """Books rides, each once.

    Args:
        api_key: as `manage.py apikey create` printed it.
        patience_seconds: for how long one thing is tried. The service knows a key for 72 hours.
    """

    def __init__(self, url: str, api_key: str, *, patience_seconds: float = 300.0) -> None:
        self._url = url.rstrip("/")
        self._api_key = api_key
        self._patience_seconds = patience_seconds

    def book(self, key: str, **ride: Any) -> Answer:
        """Book a ride, and return the final answer, also where it is a no.

        Args:
            key: drawn (`uuid.uuid4()`) and stored before the first try, beside what is wanted: who
                draws another one after a crash books another ride.
            ride: `origin_lat`, `origin_lon`, `target_lat`, `target_lon`.

        Raises: `Unfinished` where there is none in `patience_seconds`.
        """
        ends_at, pause, last = time.monotonic() + self._patience_seconds, FIRST_PAUSE_SECONDS, None
        while time.monotonic() < ends_at:
            answer = self._ask("POST", "/rides", key, ride)
            if answer is not None and is_final(answer):
                return answer
            last = answer or last
            self._wait(answer, pause, ends_at)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        raise Unfinished(key, last)

    def standing(self, key: str) -> dict[str, Any] | None:
        """Return where a key's request stands; None where the service has none. Nothing is done.

        Raises: `Unfinished` where the service does not say.
        """
        answer = self._ask("GET", "/requests", key)
        if answer is not None and answer.status in (200, 404):
            return answer.body if answer.status == 200 else None
        raise Unfinished(key, answer)

    def _ask(
        self, method: str, path: str, key: str, fields: dict[str, Any] | None = None
    ) -> Answer | None:
        """Send a request once. None where no answer came: it may have arrived all the same."""
        headers = {
            "Authorization": f"Bearer {self._api_key}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
            "Prefer": "wait=10",
        }
        data = None if fields is None else json.dumps(fields).encode()
        request = Request(self._url + path, data, headers, method=method)
        try:
            with urlopen(request, timeout=CALL_SECONDS) as answered:
                return _read(answered.status, answered)
        except HTTPError as error:
            with error:
                return _read(error.code, error)
        except (OSError, HTTPException, ValueError):
            return None

    def _wait(self, answer: Answer | None, pause: float, ends_at: float) -> None:
        """Wait as the service asks, or else longer each time; many clients not all at once."""
        asked = answer.headers.get("Retry-After", "") if answer else ""
        seconds = float(asked) if asked.isdecimal() else pause
        seconds *= random.uniform(1, 1.5)
        time.sleep(max(0.0, min(seconds, ends_at - time.monotonic())))


def is_final(answer: Answer) -> bool:
    """Say whether the same request with the same key can end otherwise no more.

    An answer that is not the service's own, such as a proxy's page, says nothing.
    """
    if answer.status == NOT_FINAL or not answer.body:
        return False
    if answer.status < 400:
        return True
    return answer.body.get("retryable") is False


def _read(status: int, answered: Any) -> Answer:
    text = answered.read()
    try:
        body = json.loads(text)
    except ValueError:
        body = {}
    is_object = isinstance(body, dict)
    # Some servers send the names in lower case, which means the same.
    headers = {name.title(): value for name, value in answered.headers.items()}
    return Answer(status, body if is_object else {}, headers)
