"""What an operation is written with: the decorators for its phases, and what a phase returns.

A phase belongs to the recovery point that it starts from. An atomic phase makes local changes in
one transaction; a foreign phase calls another system with none open, and has an atomic phase of
its own, its *commit*, for the result.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from idempotency import conf
from idempotency.exceptions import PendingMisused
from idempotency.support.sendable import JSON, content_to_send, headers_to_send
from idempotency.support.storable import storable_text

PENDING_STATUS = 202

LONGEST_PAUSE = timedelta(days=1)
"""Between two questions about what is pending. Whoever waits longer met a clock that was wrong."""

LONGEST_PENDING = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class RecoveryPoint:
    """The phase is done; the next attempt enters at `name`.

    Args:
        name: of the point that a later phase starts from, stored with the key: it outlives a
            deploy, so one that is changed goes into that phase's `renamed_from`.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Response:
    """The final answer: stored with the phase's changes, and replayed byte for byte.

    The body is read when the answer is made, into `content`, which is what is stored and sent.

    Args:
        status: of HTTP. Every phase's answer is final, one from 400 on as well.
        body: bytes, a text where the content type is not JSON, or what has a form in JSON.
        content_type: JSON unless it is given.
        headers: what is stored and replayed besides the content type, such as `Location`.

    Raises: `UnsendableAnswer`, where it is made, for an answer that cannot be stored or sent.
    """

    status: int
    body: Any = None
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        content = content_to_send(self.status, self.body, self.content_type)
        object.__setattr__(self, "content", content)
        if self.headers:
            object.__setattr__(self, "headers", headers_to_send(self.headers))

    @classmethod
    def error(cls, status: int, message: str, *, code: str) -> Self:
        """A final refusal, in the shape that all errors have.

        Args:
            status: of HTTP.
            message: for people.
            code: for machines, stable.
        """
        return cls(status, error_body(message, code=code, retryable=False))


@dataclass(frozen=True, slots=True)
class NoOp:
    """An atomic phase could do nothing yet: its changes commit, the key stays where it is.

    What another system has under way is `Pending`.
    """


@dataclass(frozen=True, slots=True)
class Undo:
    """The request is not to be: what its foreign phases did before is taken back, the latest first,
    by their `undo`; then `Operation.cancelled` answers.
    """


PhaseResult = RecoveryPoint | Response | NoOp | Undo


@dataclass(frozen=True, slots=True)
class Pending:
    """The foreign system has it under way: neither an answer nor a failure.

    Returned by a foreign phase, or by its look-up, `follow` or `withdraw`, in place of the result.
    It is committed, the lease is let go, and the client gets `answer` as a 202.

    Args:
        reference: what the foreign system identifies the thing by, for `follow` and `withdraw`.
        answer: the body of the 202, as JSON: what the client needs to go on. It is never logged.
        ask_again_in: when the completer, or a retry, asks the next time; a second to a day.
        gives_up_after: how long after it was first pending it is withdrawn; 366 days at most.
        kept: what the operation's `record_pending` gets, to write it down in the same commit.

    Raises: `UnsendableAnswer`, where it is made, for an answer that cannot be stored or sent;
    `PendingMisused` for times that cannot be kept, or a reference that is none.
    """

    reference: str
    answer: Any = field(repr=False)
    _: KW_ONLY
    ask_again_in: timedelta
    gives_up_after: timedelta
    kept: Any = field(default=None, repr=False, compare=False)
    text: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        text = content_to_send(PENDING_STATUS, self.answer, JSON).decode()
        object.__setattr__(self, "text", text)
        if not (self.reference and storable_text(self.reference) == self.reference):
            raise PendingMisused("What is pending needs a reference that can be stored.")
        if not timedelta(seconds=1) <= self.ask_again_in <= LONGEST_PAUSE:
            raise PendingMisused(f"What is pending is asked about each second to {LONGEST_PAUSE}.")
        if not timedelta(0) <= self.gives_up_after <= LONGEST_PENDING:
            raise PendingMisused(f"What is pending is given up within {LONGEST_PENDING}.")


Method = TypeVar("Method", bound=Callable[..., Any])


def error_body(message: str, *, code: str, retryable: bool) -> dict[str, Any]:
    return {"error": storable_text(message), "code": code, "retryable": retryable}


@dataclass(eq=False, kw_only=True)
class BasePhase:
    """A method of an operation, with the recovery point that it starts from."""

    recovery_point: str
    method: Callable[..., Any]
    renamed_from: tuple[str, ...] = ()
    retired: bool = False

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else self.method.__get__(instance, owner)

    @property
    def name(self) -> str:
        return self.method.__name__

    @property
    def first_name(self) -> str:
        """The oldest name of its recovery point, which no rename changes."""
        return (*self.renamed_from, self.recovery_point)[0]

    def starts_from(self, recovery_point: str) -> bool:
        """Whether it serves a key at that point, by the point's present name or a former one."""
        return recovery_point == self.recovery_point or recovery_point in self.renamed_from


class AtomicPhase(BasePhase):
    """A method that runs in one transaction. Made by `atomic_phase`."""


@dataclass(eq=False, kw_only=True)
class ForeignPhase(BasePhase):
    """A method that calls another system. Made by `foreign_phase`.

    The methods that go with it are kept by name, so that a subclass can override them.
    """

    window: timedelta
    worst_case: timedelta | None
    memory: timedelta | None = None
    loads: tuple[str, ...] = ()
    asks_anew: bool = False
    lookup_name: str | None = None
    commit_name: str | None = None
    adopt_name: str | None = None
    follow_name: str | None = None
    withdraw_name: str | None = None
    rejections: dict[type[Exception], str] = field(default_factory=dict)

    def lookup(self, method: Method) -> Method:
        """Past the window: asks the foreign system what it did, and sends nothing.

        The method returns what the phase itself would have returned, or None where the foreign
        system knows nothing of it.
        """
        self.lookup_name = method.__name__
        return method

    def follow(self, method: Method) -> Method:
        """What is pending: asks what became of it, by the reference that was given with it.

        The method ends as the phase itself would: with the result, with one of the `rejected`
        errors, or with another `Pending`.
        """
        self.follow_name = method.__name__
        return method

    def withdraw(self, method: Method) -> Method:
        """What was pending for too long: cancels it, by its reference, and says what became of it.

        The method ends as `follow` does. Only a definite outcome finishes the request, so it raises
        one of the `rejected` errors once the foreign system has confirmed that nothing will come of
        it, returns the result where it came too late, and `Pending` where it was refused.
        """
        self.withdraw_name = method.__name__
        return method

    def rejected(self, *errors: type[Exception]) -> Callable[[Method], Method]:
        """An error that is a definite no. The method gets it and is an atomic phase."""

        def register(method: Method) -> Method:
            self.rejections.update(dict.fromkeys(errors, method.__name__))
            return method

        return register

    def commit(self, method: Method) -> Method:
        """The atomic phase for the result of the call, which it gets as its argument."""
        self.commit_name = method.__name__
        return method

    def adopt(self, method: Method) -> Method:
        """On review: checks what a person found at the foreign system, by the reference that they
        give, and returns it as the phase would have. Raises: `ReviewRefused` where it is not ours.
        """
        self.adopt_name = method.__name__
        return method

    def undo(self, method: Callable[..., Any]) -> "UndoPhase":
        """Takes back at the foreign system whatever this phase did there, and returns an account of
        it. For a request that a person has undone, or that a phase has with `Undo`: then the undos
        of the foreign phases before it follow, in reverse order, each at a point of its own.

        It may be called again, and for a request that never came to this phase, so it is idempotent
        and looks at what is there. Its `commit`, if it has one, gets the account, writes it down
        and returns nothing; `Operation.cancelled` gets the account of the last one.
        """
        return UndoPhase(
            recovery_point=undo_point(self.recovery_point),
            renamed_from=tuple(map(undo_point, self.renamed_from)),
            retired=self.retired,
            method=method,
            window=timedelta.max,
            worst_case=self.worst_case,
            memory=self.memory,
            loads=self.loads,
            asks_anew=self.asks_anew,
        )

    def may_send(self, sent_at: datetime | None, now: datetime) -> bool:
        """Whether the foreign system still recognises the key that was first sent at that time.

        A time that is still to come says nothing: the database's clock was wrong, then or now. With
        no window only the attempt that was to be the first to send may do so.

        Args:
            now: when the attempt began.
        """
        if sent_at is None or not self.window:
            return sent_at in (None, now)
        return -conf.current().clock_tolerance <= now - sent_at < self.window

    def rejection_of(self, error: Exception) -> str | None:
        """The name of the method that handles `error`, if it is a definite no."""
        for kind, method_name in self.rejections.items():
            if isinstance(error, kind):
                return method_name
        return None


class UndoPhase(ForeignPhase):
    """Takes back what another foreign phase did. Made by that phase's `undo`.

    A phase of its own, with a recovery point of its own, so that the decision to undo outlives the
    process that carries it out: whoever takes the key over then goes on undoing.
    """


Phase = AtomicPhase | ForeignPhase


def undo_point(recovery_point: str) -> str:
    """The point of a request whose foreign phase at `recovery_point` is to be taken back."""
    return f"undo {recovery_point}"


def atomic_phase(
    recovery_point: str, *, renamed_from: Sequence[str] = (), retired: bool = False
) -> Callable[[Callable[..., PhaseResult]], AtomicPhase]:
    """Make a method the atomic phase that starts from `recovery_point`.

    Args:
        recovery_point: `STARTED`, or what the `RecoveryPoint` of an earlier phase names.
        renamed_from: former names of the point, the oldest first. Keys may still stand at one of
            them, and a foreign phase's own key is made of the oldest: a name is never taken out.
        retired: the phase is there for such keys only; no phase leads to it any more.

    The method returns `RecoveryPoint`, `Response`, `NoOp` or `Undo`. It may be run again after a
    serialization failure or a deadlock, so it has local effects only.
    """

    def decorate(method: Callable[..., PhaseResult]) -> AtomicPhase:
        return AtomicPhase(
            recovery_point=recovery_point,
            method=method,
            renamed_from=tuple(renamed_from),
            retired=retired,
        )

    return decorate


def foreign_phase(
    recovery_point: str,
    *,
    window: timedelta,
    worst_case: timedelta | None = None,
    memory: timedelta | None = None,
    loads: Sequence[str] = (),
    asks_anew: bool = False,
    renamed_from: Sequence[str] = (),
    retired: bool = False,
) -> Callable[[Callable[..., Any]], ForeignPhase]:
    """Make a method the foreign phase that starts from `recovery_point`.

    Args:
        recovery_point: as for `atomic_phase`.
        window: how long after the first sending the foreign system still recognises our key.
            Inside it the call is sent again; past it only the `lookup` is asked. `timedelta(0)` for
            one that recognises no key: the call is sent once.
        worst_case: the longest that one call can take, timeouts times tries. A system check
            holds it below the lock timeout.
        memory: the longest that the foreign system keeps a key of ours. A system check has a
            client's own key known for longer than that: used again later, it is a new request,
            which must not be answered from that memory.
        loads: attributes of the operation that are read before the call is made, because they
            come from the database, whose connection others may have in the meantime.
        asks_anew: after a `ForeignRefusal` a person's "run again" is a new question:
            `key.foreign_question` is raised, and `foreign_key` is another one, because a foreign
            system that has saved the refusal under the old key only repeats it. Where the number is
            not 0, the method makes the earlier keys useless there, and looks for what they have led
            to, before it sends anything. An `undo` may always be asked anew.
        renamed_from, retired: as for `atomic_phase`.

    The method returns the result for `commit`, or `Pending` when the foreign system has it under
    way, or raises: one of the `rejected` errors when the answer is a definite no, `Indeterminate`
    when it is not known what happened, `NeedsReview` when only a person can tell.
    """

    def decorate(method: Callable[..., Any]) -> ForeignPhase:
        return ForeignPhase(
            recovery_point=recovery_point,
            method=method,
            renamed_from=tuple(renamed_from),
            retired=retired,
            window=window,
            worst_case=worst_case,
            memory=memory,
            loads=tuple(loads),
            asks_anew=asks_anew,
        )

    return decorate
