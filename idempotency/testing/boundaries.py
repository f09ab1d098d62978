"""The boundaries of an attempt: the moments between which a process can die and it matters.

They are found by watching, never listed: what goes to the database through Django's connection,
and what the operation's foreign phases call. A new statement is a new boundary by itself.
"""

import functools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from unittest.mock import patch

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test.utils import _TestState

from idempotency.database import connection
from idempotency.operations import Operation
from idempotency.phases import ForeignPhase
from idempotency.testing.activity import in_transaction

if not (settings.DEBUG or "pytest" in sys.modules or hasattr(_TestState, "saved_data")):
    raise ImproperlyConfigured(
        "idempotency.testing kills processes and loses answers. It is for tests: DEBUG is off, and "
        "no test is being run."
    )

LoseAnswer = Callable[[], AbstractContextManager[Any]]
"""In the block, what the foreign system is asked for is done, and its answer never arrives."""

Calls = Sequence[tuple[Any, str]]
"""What calls another system besides an operation's phases: whose it is, and its name there."""

_VERB = re.compile(r"\s*(\w+)")
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+\"?(\w+)", re.IGNORECASE)


class Kind(StrEnum):
    """Whom the step of a boundary goes to."""

    STATEMENT = "statement"
    TRANSACTION = "transaction"
    FOREIGN = "foreign"


class Moment(StrEnum):
    """On which side of its step a boundary lies."""

    BEFORE = "before"
    APPLIED = "applied but not answered:"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Boundary:
    """The `number`-th moment of an attempt, such as "before COMMIT".

    Args:
        number: from 1 on.
        kind: whom the step goes to.
        moment: on which side of the step it is.
        step: a statement in two words, the end of a transaction, or the name of a method.
    """

    number: int
    kind: Kind
    moment: Moment
    step: str

    def __str__(self) -> str:
        return f"{self.number}. {self.moment} {self.step}"


class AnswerNotLost(SystemExit):
    """A foreign call returned although `lose_answer` was to see to it that it does not. No code
    under test may take it for an error of its own.
    """


@dataclass
class Watch:
    """Numbers the boundaries that one attempt reaches, and strikes at one of them.

    Args:
        is_target: where to strike, once; nowhere unless it is given.
        strike: what happens there, at the very moment.
    """

    lose_answer: LoseAnswer | None = None
    is_target: Callable[[Boundary], bool] = lambda _: False
    strike: Callable[[Boundary], None] = lambda _: None
    found: list[Boundary] = field(default_factory=list)
    transactions_during_foreign_calls: list[str] = field(default_factory=list)
    has_struck: bool = False

    def reach(self, kind: Kind, moment: Moment, step: str) -> None:
        if self.arrive(kind, moment, step):
            self.has_struck = True
            self.strike(self.found[-1])

    def arrive(self, kind: Kind, moment: Moment, step: str) -> bool:
        """Whether this is where to strike."""
        boundary = Boundary(len(self.found) + 1, kind, moment, step)
        self.found.append(boundary)
        return not self.has_struck and self.is_target(boundary)

    @contextmanager
    def on(self, operation: type[Operation], calls: Calls = ()) -> Iterator[None]:
        """Watch what this thread does in the block; `calls` are foreign as well."""
        with ExitStack() as stack:
            stack.enter_context(connection.execute_wrapper(self._statement))
            for step in ("commit", "rollback"):
                original = getattr(connection, f"_{step}")
                watched = self._ending_transaction(step.upper(), original)
                stack.enter_context(patch.object(connection, f"_{step}", watched))
            for phase in operation.phases():
                if isinstance(phase, ForeignPhase):
                    self._watch_phase(stack, operation, phase)
            for owner, name in calls:
                call = self._foreign(getattr(owner, name), None)
                stack.enter_context(patch.object(owner, name, call))
            yield

    def _watch_phase(
        self, stack: ExitStack, operation: type[Operation], phase: ForeignPhase
    ) -> None:
        call = self._foreign(phase.method, self.lose_answer)
        stack.enter_context(patch.object(phase, "method", call))
        # A question changes nothing, so there is nothing that was applied; and what is withdrawn is
        # asked about again.
        for name in filter(None, (phase.lookup_name, phase.follow_name, phase.withdraw_name)):
            asking = self._foreign(getattr(operation, name), None)
            stack.enter_context(patch.object(operation, name, asking))

    def _statement(
        self, execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any
    ) -> Any:
        if str(sql).startswith("PREPARE "):
            return execute(sql, parameters, many, context)  # changes nothing, and not each time
        step = named(sql)
        self.reach(Kind.STATEMENT, Moment.BEFORE, step)
        result = execute(sql, parameters, many, context)
        self.reach(Kind.STATEMENT, Moment.AFTER, step)
        return result

    def _ending_transaction(self, step: str, original: Callable[[], Any]) -> Callable[[], Any]:
        def watched() -> None:
            self.reach(Kind.TRANSACTION, Moment.BEFORE, step)
            original()
            self.reach(Kind.TRANSACTION, Moment.AFTER, step)

        return watched

    def _foreign(self, method: Callable[..., Any], lose_answer: LoseAnswer | None) -> Any:
        @functools.wraps(method)
        def watched(*arguments: Any, **options: Any) -> Any:
            step = method.__name__
            self._note_open_transaction(step)
            self.reach(Kind.FOREIGN, Moment.BEFORE, step)
            if lose_answer and self.arrive(Kind.FOREIGN, Moment.APPLIED, step):
                return self._call_unanswered(method, arguments, lose_answer)
            try:
                return method(*arguments, **options)
            finally:
                self.reach(Kind.FOREIGN, Moment.AFTER, step)

        return watched

    def _call_unanswered(
        self, method: Callable[..., Any], arguments: tuple[Any, ...], lose_answer: LoseAnswer
    ) -> Any:
        boundary = self.found[-1]
        try:
            with lose_answer():
                method(*arguments)
        except Exception:
            self.has_struck = True
            self.strike(boundary)
            raise
        raise AnswerNotLost(f"{method.__name__} was answered")

    def _note_open_transaction(self, step: str) -> None:
        if in_transaction(connection):
            self.transactions_during_foreign_calls.append(step)


def named(sql: object) -> str:
    """A statement in two words, such as "INSERT rides_ride"."""
    text = str(sql)
    found = (_VERB.match(text), _TABLE.search(text))
    return " ".join(match[1] for match in found if match)
