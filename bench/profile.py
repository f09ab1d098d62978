"""Where a ride's time in Python goes, ours beside the unsafe view: `python -m bench.profile`.

One thread books rides in this process, through all of Django and over real sockets, while a timer
of the process's own processor time looks which function it is in. A look counts for the innermost
of the parts (`parts.py`), so the table has each microsecond once. There is no server and no other
thread in it: what they cost is the distance to the benchmark's column.
"""

import io
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from bench import database
from bench.contestants.ours import OURS
from bench.contestants.service import SETTINGS
from bench.contestants.unsafe import UNSAFE
from bench.load import COORDINATES, RIDERS
from bench.processes import end_in_order_when_told
from bench.report import drawn
from bench.world import TEMPLATE, World, production, world

DATABASE = "rocketrides_bench_profile"
ROUNDS = 6
RIDES = 1_000  # of each contestant in a round
EVERY_SECONDS = 0.001

BODY = urlencode(COORDINATES).encode()

Book = Callable[[str, int], None]


@dataclass
class Profile:
    """What one contestant's rides took, and how many looks found it in which part."""

    looks: Counter[str] = field(default_factory=Counter)
    rides: int = 0
    seconds: float = 0.0

    @property
    def took_us(self) -> float:
        return self.seconds / self.rides * 1e6

    def part_us(self, part: str) -> float:
        return self.looks[part] / self.looks.total() * self.took_us


def main() -> None:
    ours, unsafe = Profile(), Profile()
    end_in_order_when_told()
    with world() as bench, booking(bench) as book:
        for contestant in (OURS, UNSAFE):
            _book(book, contestant.path, Profile())  # until all is imported, planned and connected
        for _ in range(ROUNDS):
            _book(book, OURS.path, ours)
            _book(book, UNSAFE.path, unsafe)
    print(table(ours, unsafe))


def table(ours: Profile, unsafe: Profile) -> str:
    """The parts with their microseconds of a ride, where ours takes the most more first."""

    def more(part: str) -> float:
        return ours.part_us(part) - unsafe.part_us(part)

    rows = [
        (part, f"{ours.part_us(part):.0f}", f"{unsafe.part_us(part):.0f}", f"{more(part):+.0f}")
        for part in sorted(ours.looks | unsafe.looks, key=more, reverse=True)
    ]
    took = (ours.took_us, unsafe.took_us)
    total = ("all", *(f"{each:.0f}" for each in took), f"{took[0] - took[1]:+.0f}")
    return drawn([("part", "ours, µs a ride", "unsafe", "more"), *rows, total])


def _book(book: Book, path: str, profile: Profile) -> None:
    began_at = time.process_time()
    with looking(profile.looks):
        for n in range(RIDES):
            book(path, n)
    profile.seconds += time.process_time() - began_at
    profile.rides += RIDES


@contextmanager
def booking(world: World) -> Iterator[Book]:
    """A function that books a ride at a path for the n-th rider, set up as in production."""
    with database.created(DATABASE, template=TEMPLATE) as url:
        os.environ.update(production(url, world.stand_in, settings=SETTINGS))
        os.environ.update(DATABASE_POOL_SIZE="8")
        os.environ.pop("DATABASE_SESSION_OPTIONS", None)  # they might not wait for the disk
        from django.db import connection

        from rocketrides.wsgi import application

        def book(path: str, n: int) -> None:
            statuses: list[str] = []

            def start_response(status: str, *_: Any) -> Callable[[bytes], object]:
                statuses.append(status)
                return sys.stderr.buffer.write

            answer = application(environ(path, n), start_response)
            answer.close()
            assert statuses == ["201 Created"], statuses

        yield book
        connection.close()


def environ(path: str, n: int) -> dict[str, Any]:
    """A request as a WSGI server hands it over."""
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "HTTP_HOST": "127.0.0.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_AUTHORIZATION": f"rider-{n % RIDERS}@example.com",
        "HTTP_IDEMPOTENCY_KEY": uuid4().hex,
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(BODY)),
        "wsgi.input": io.BytesIO(BODY),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
    }


@contextmanager
def looking(looks: Counter[str]) -> Iterator[None]:
    """Count into `looks` which part the process is in, each time it has used `EVERY_SECONDS`."""
    from bench.parts import part_of  # which needs Django set up

    def look(_: int, frame: FrameType | None) -> None:
        looks[part_of(frame)] += 1

    signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS, EVERY_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_IGN)


if __name__ == "__main__":
    main()
