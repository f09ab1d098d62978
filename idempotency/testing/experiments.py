"""What an adopter says of an operation that is to be crashed, and what is known of one trial."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Protocol

from django.db import close_old_connections

from idempotency.models import IdempotencyKey
from idempotency.operations import Operation
from idempotency.phases import PENDING_STATUS
from idempotency.testing.boundaries import Boundary, Calls, LoseAnswer, Watch
from idempotency.testing.faults import Fault
from idempotency.testing.histories import Change, history_of


class Recovery(StrEnum):
    """Who recovers."""

    CLIENT = "client"
    COMPLETER = "completer"
    BOTH = "both at once"
    KILLED = "client, killed too"


class HttpAnswer(Protocol):
    """What of Django's `HttpResponse` is looked at."""

    status_code: int
    content: bytes
    headers: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client was told.

    Args:
        status: of HTTP.
        body: its bytes.
        is_replay: whether it was marked `Idempotent-Replayed`.
        is_pending: whether it is that of the meantime: 202, with a time to ask again.
    """

    status: int
    body: bytes
    is_replay: bool
    is_pending: bool = False

    @property
    def is_final(self) -> bool:
        """Whether the client may take it as the outcome: it is not told to try again."""
        if self.is_pending:
            return False
        try:
            body = json.loads(self.body)
        except ValueError:
            return self.status < 500
        return not (isinstance(body, dict) and body.get("retryable"))


def nothing(*_: Any) -> None:
    """Where an experiment says nothing, there is nothing to do."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is to be crashed, and how to tell whether it survived.

    Args:
        operation: none for an `@idempotent` view, which has no phases.
        send: sends the request with the given idempotency key through Django, in this process.
        lose_answer: a context manager in which a call to the foreign system is carried out there
            and its answer is lost. Without one, that boundary is not tried.
        invariants: called with the trial when everything is at rest; each raises `AssertionError`.
        prepare: brings the key to where the attempt begins.
        attempt: what is crashed, where that is not the request: a completer, an enqueuer.
        calls: what else calls another system, such as the sending of a mail by a job.
        settle: does what other processes would do in the end, such as running the jobs.
        outcome: what is compared between a run that failed on its way and one that did not.
        after_fork: gives up, in a forked process, the connections that it must not share.
        loses_history: whether what the attempt committed is lost before the recovery.
    """

    send: Callable[[str], HttpAnswer]
    invariants: tuple[Callable[["Trial"], None], ...]
    operation: type[Operation] = Operation
    lose_answer: LoseAnswer | None = None
    prepare: Callable[[str], object] = nothing
    attempt: Callable[[str], object] | None = None
    calls: Calls = ()
    settle: Callable[[], object] = nothing
    outcome: Callable[["Trial"], object] = lambda trial: (
        trial.final_answer and trial.final_answer.status
    )
    after_fork: Callable[[], None] = nothing
    loses_history: bool = False

    def ask(self, key: str) -> Answer:
        """What a client is told who sends the request now."""
        with _connections_as_a_server_keeps_them():
            return _answer_from(self.send(key))

    def make_attempt(self, key: str) -> Answer | None:
        if self.attempt is None:
            return self.ask(key)
        with _connections_as_a_server_keeps_them():
            self.attempt(key)
        return None


@dataclass(kw_only=True, eq=False)
class Trial:
    """What happened to one key: what the invariants look at.

    Args:
        experiment: what was tried.
        boundary: where the fault struck; none in a run without one.
        fault: what struck.
        recovery: who recovered.
        idempotency_key: the client's key.
        answers: what the clients were told, in order.
        watch: the boundaries that the attempt came to, and transactions during foreign calls.
        was_struck: whether the attempt came to its boundary.
        at_rest: when the world was looked at: what is read of all of it at once can be kept that
            long.
    """

    experiment: Experiment
    boundary: Boundary | None = None
    fault: Fault = Fault.NONE
    recovery: Recovery = Recovery.CLIENT
    idempotency_key: str = field(default_factory=lambda: str(uuid.uuid4()))
    answers: list[Answer] = field(default_factory=list)
    watch: Watch = field(default_factory=Watch)
    was_struck: bool = False
    at_rest: object = field(default_factory=object)

    def __str__(self) -> str:
        where = f" at {self.boundary}" if self.boundary else ""
        return f"{self.fault}{where}, recovered by {self.recovery}"

    @property
    def final_answers(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.is_final]

    @property
    def final_answer(self) -> Answer | None:
        return next(iter(self.final_answers), None)

    @cached_property
    def key(self) -> IdempotencyKey | None:
        """The row as it is at rest; None where there is none."""
        return IdempotencyKey.objects.filter(idempotency_key=self.idempotency_key).first()

    @cached_property
    def history(self) -> list[Change]:
        """Every committed change of the row, to the end."""
        return history_of(self.idempotency_key)

    def hear(self, answer: Answer | None) -> None:
        if answer is not None:
            self.answers.append(answer)


@contextmanager
def _connections_as_a_server_keeps_them() -> Iterator[None]:
    """Django's test client leaves a broken connection open, which no server does."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()


def _answer_from(response: HttpAnswer) -> Answer:
    is_replay = response.headers.get("Idempotent-Replayed") == "true"
    is_pending = response.status_code == PENDING_STATUS and "Retry-After" in response.headers
    return Answer(response.status_code, response.content, is_replay, is_pending)
