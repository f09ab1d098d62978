"""Clients of all cells at once, by HAProxy: what each was told, of which cell, and when."""

import contextlib
import http.client
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from sandbox.cells.cluster import Cell

ANSWERS = {201, 402, 409, 503}
PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 0.02
NO_ANSWER = 0
MOST_TRIES = 4
BODY = urlencode(
    {"origin_lat": "37.78", "origin_lon": "-122.4", "target_lat": "34.1", "target_lon": "-118.2"}
)


@dataclass(frozen=True, slots=True)
class Told:
    """One answer: of which cell, under which key, when it was asked for, and how long it took."""

    cell: Cell
    key: str
    status: int
    sent_at: float
    seconds: float


@dataclass
class Load:
    """Books in each cell, a few keys at a time, until it is told to stop. A key that has no end
    after a few tries is left to the completer: its lease may last longer than anybody waits.
    """

    port: int
    api_keys: Mapping[Cell, str]
    told: list[Told] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self, clients_a_cell: int) -> Iterator[None]:
        clients = [
            threading.Thread(target=self._book, args=[cell])
            for cell in self.api_keys
            for _ in range(clients_a_cell)
        ]
        for client in clients:
            client.start()
        try:
            yield
        finally:
            self.stopping.set()
            for client in clients:
                client.join()

    def since(self, moment: float, until: float = float("inf")) -> list[Told]:
        return [each for each in self.told if moment <= each.sent_at < until]

    def booked(self) -> Mapping[Cell, set[str]]:
        """Return the keys of each cell that were answered with 201."""
        keys: dict[Cell, set[str]] = {cell: set() for cell in self.api_keys}
        for each in self.told:
            if each.status == 201:
                keys[each.cell].add(each.key)
        return keys

    def _book(self, cell: Cell) -> None:
        while not self.stopping.is_set():
            key = str(uuid.uuid4())
            for _ in range(MOST_TRIES):
                if self.ask(cell, key) in (201, 402) or self.stopping.wait(10 * PAUSE_SECONDS):
                    break
            self.stopping.wait(PAUSE_SECONDS)

    def ask(self, cell: Cell, key: str) -> int:
        sent_at = time.monotonic()
        try:
            status = self._send(cell, key)
        except (OSError, http.client.HTTPException):
            status = NO_ANSWER
        self.told.append(Told(cell, key, status, sent_at, time.monotonic() - sent_at))
        return status

    def _send(self, cell: Cell, key: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        headers = {
            "Authorization": f"Bearer {self.api_keys[cell]}",
            "Idempotency-Key": key,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        with contextlib.closing(connection):
            connection.request("POST", "/rides", BODY, headers)
            response = connection.getresponse()
            response.read()
            return response.status


def by_cell(told: list[Told]) -> str:
    """Return in a line how often each cell gave which answer."""
    counted = Counter((each.cell.schema, each.status) for each in told)
    return "  ".join(
        f"{schema} " + " ".join(f"{s}={n}" for (c, s), n in sorted(counted.items()) if c == schema)
        for schema in sorted({cell for cell, _ in counted})
    )
