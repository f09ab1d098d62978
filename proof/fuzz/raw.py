"""Stories over raw sockets, some at once, and what must hold after each handful of them."""

import json
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus

from proof.fuzz.service import HOST, Service
from proof.fuzz.stories import CANARY, WAYS, Story, Writer

AT_ONCE = 16
QUIET_SECONDS = 0.25  # after which a server that says no more waits for the client
END_WITHIN_SECONDS = 20.0
SETTLED_WITHIN_SECONDS = 5.0

HEAD_END = b"\r\n\r\n"
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r]")
LENGTH = re.compile(rb"^content-length: *([0-9]+)", re.IGNORECASE | re.MULTILINE)
TYPE = re.compile(rb"^content-type: *([^\s;]+)", re.IGNORECASE | re.MULTILINE)
FIRST = re.compile(rb"^idempotent-replayed: *false", re.IGNORECASE | re.MULTILINE)
OURS = (b"application/json", b"application/problem+json")

COUNT_KEYS = "SELECT count(*) FROM idempotency_idempotencykey"
COUNT_CANARIES = f"{COUNT_KEYS} WHERE idempotency_key LIKE %s"
COUNT_AT_WORK = """
SELECT count(*) FROM pg_stat_activity
 WHERE state <> 'idle' AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@dataclass(frozen=True)
class Answer:
    status: int
    head: bytes
    body: bytes

    @property
    def is_refusal(self) -> bool:
        return self.status // 100 == 4 and self.status != HTTPStatus.PAYMENT_REQUIRED

    def faults(self) -> Iterator[str]:
        """Yield what an answer may not be: a failure, or an error that no client can read."""
        kind = TYPE.search(self.head)
        said = _read(self.body) if kind and kind[1] in OURS else {}
        if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            if self.status != HTTPStatus.SERVICE_UNAVAILABLE or "code" not in said:
                yield f"{self.status}: {self.body[:200]!r}"
        elif self.is_refusal and kind and kind[1] in OURS and self.body:
            if not {"code", "retryable"} <= said.keys():
                yield f"{self.status} that says no code: {self.body[:200]!r}"
        elif self.is_refusal and not kind and self.body:
            yield f"{self.status} of no type: {self.body[:200]!r}"


@dataclass(frozen=True)
class Told:
    """A story and what came of it."""

    way: str
    story: Story
    answers: list[Answer]
    rest: bytes
    has_ended: bool

    def faults(self) -> Iterator[str]:
        for answer in self.answers:
            yield from answer.faults()
        if self.rest:
            yield f"no HTTP: {self.rest[:200]!r}"
        if not self.has_ended:
            yield f"the connection was open after {END_WITHIN_SECONDS} s"
        count, wanted = len(self.answers), self.story.answers
        if wanted is not None and count != wanted:
            yield f"{count} answers to {wanted} requests"
        if count > self.story.requests:
            yield f"{count} answers to at most {self.story.requests} requests"
        if not self.story.may_book and any(not answer.is_refusal for answer in self.answers):
            yield f"accepted: {[answer.status for answer in self.answers]}"


@dataclass
class Raw:
    """What was asked and answered so far, and what did not hold."""

    service: Service
    seed: int
    requests: int = 0
    booked: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def run(self, requests: int) -> None:
        dice = random.Random(self.seed)  # noqa: S311 - it need not be hard to guess
        writer = Writer(dice, self.service.api_keys[0].encode())
        processes = self.service.processes()
        self._probe(writer)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while self.requests < requests:
                way = dice.choice(WAYS)
                self._tell(pool, way.__name__, [way(writer) for _ in range(AT_ONCE)])
                self._probe(writer)
        if self.service.processes() != processes:
            self.faults.append("a process of the server has ended")
        self._look_at_the_rows()

    def _tell(self, pool: ThreadPoolExecutor, way: str, stories: list[Story]) -> None:
        """Have stories of one kind told at once, and look at what was written meanwhile."""
        write, keys = self.service.last_write(), self.service.ask(COUNT_KEYS)
        told = list(pool.map(lambda story: tell(self.service.port, way, story), stories))
        self._settle()
        for each in told:
            self.requests += each.story.requests
            self.ways[way] += 1
            self.seen.update(f"{answer.status}" for answer in each.answers)
            self.seen["no answer"] += not each.answers
            sent = f"{each.story.sent!r:.2000}"
            self.faults += [f"{way}: {fault}\n    {sent}" for fault in each.faults()]
        booked = sum(bool(FIRST.search(a.head)) for each in told for a in each.answers)
        unheard = sum(not each.answers and each.story.may_book for each in told)
        new = self.service.ask(COUNT_KEYS) - keys
        self.booked += new
        if not booked <= new <= booked + unheard:
            self.faults.append(f"{way}: {new} new keys of {booked} bookings")
        if not booked and not unheard and self.service.last_write() != write:
            self.faults.append(f"{way}: the database was written to by refused requests")

    def _settle(self) -> None:
        """Wait for what is still at work for clients that are gone."""
        deadline = time.monotonic() + SETTLED_WITHIN_SECONDS
        while self.service.ask(COUNT_AT_WORK) and time.monotonic() < deadline:
            time.sleep(0.005)

    def _probe(self, writer: Writer) -> None:
        """A right booking goes through, whatever came before it."""
        told = tell(self.service.port, "probe", Story(writer.last(writer.booking()), answers=1))
        self.booked += 1
        if [answer.status for answer in told.answers] != [HTTPStatus.CREATED]:
            self.faults.append(f"a probe was answered with {told.answers}")

    def _look_at_the_rows(self) -> None:
        if canaries := self.service.ask(COUNT_CANARIES, f"{CANARY.decode()}%"):
            self.faults.append(f"{canaries} requests were smuggled")
        self.faults += [f"log: {line}" for line in self.service.complaints()]


def tell(port: int, way: str, story: Story) -> Told:
    """Send a story, and read until the server closes.

    Where the server may wait for more than there is, it is told after a while that this was all.
    """
    patience = END_WITHIN_SECONDS if story.answers else QUIET_SECONDS
    received, deadline = bytearray(), time.monotonic() + END_WITHIN_SECONDS
    has_ended = False
    with socket.create_connection((HOST, port), END_WITHIN_SECONDS) as client:
        client.settimeout(patience)
        try:
            client.sendall(story.sent)
            while time.monotonic() < deadline:
                try:
                    read = client.recv(65_536)
                except TimeoutError:
                    client.shutdown(socket.SHUT_WR)
                    continue
                if not read:
                    break
                received += read
            has_ended = time.monotonic() < deadline
        except OSError:  # refused and closed before the end of what was sent
            has_ended = True
    answers, rest = answers_in(bytes(received))
    return Told(way, story, answers, rest, has_ended)


def answers_in(received: bytes) -> tuple[list[Answer], bytes]:
    """Return the answers, and what is none."""
    answers: list[Answer] = []
    while received:
        head, end, rest = received.partition(HEAD_END)
        line = STATUS_LINE.match(head)
        if not (line and end):
            break
        length = LENGTH.search(head)
        size = int(length[1]) if length and rest else 0  # nothing follows an answer to HEAD
        if len(rest) < size:
            break
        received = rest[size:]
        if (status := int(line[1])) >= HTTPStatus.OK:
            answers.append(Answer(status, head, rest[:size]))
    return answers, received


def _read(body: bytes) -> dict[str, object]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
