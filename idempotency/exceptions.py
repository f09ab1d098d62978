"""The named refusals and failures. Each knows the answer that a client gets for it.

A message says what was wrong, what was kept, and what to do next; `code` is stable and for
machines; `retryable` says whether the same request with the same key can end otherwise.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

LEAVING = (KeyboardInterrupt, SystemExit)
"""What ends a process. Anything else that an item of a batch raises is a failure of that item."""


class IdempotencyError(Exception):
    """What this app raises.

    Args:
        message: what the client is told.
        retry_after_seconds: becomes the `Retry-After` header.
    """

    status: int = 500
    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    # A subclass of the adopter's that sets none of these is an answer all the same.
    message: str = ""
    retry_after_seconds: int | None = None

    def __init__(self, message: str, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_seconds = retry_after_seconds

    @property
    def headers(self) -> dict[str, str]:
        if self.retry_after_seconds is None:
            return {}
        return {"Retry-After": str(self.retry_after_seconds)}


# Nothing was begun: `http.refusals` has what else can be wrong with a request.


class DoorsClosed(IdempotencyError):
    """Somebody has closed the service (`manage.py doors close`)."""

    status, code, retryable = 503, "doors_closed", True


class TooManyUnfinished(IdempotencyError):
    """The user has as many unfinished requests as `MAX_UNFINISHED` lets them."""

    status, code, retryable = 429, "too_many_unfinished", True


# The key is there, but not for this request, or not now: it was left as it is.


class ParametersMismatch(IdempotencyError):
    """The key was first used for another method, path or set of parameters."""

    status, code = 409, "parameters_mismatch"


class KeyExpired(IdempotencyError):
    """The key was finished, and its answer has been reaped: a tombstone is left."""

    status, code = 410, "key_expired"


class RequestInProgress(IdempotencyError):
    """Another process holds the lease."""

    status, code, retryable = 409, "request_in_progress", True


class LeaseLost(IdempotencyError):
    """The fence: this process's fencing token is no longer the key's, so nothing was written."""

    status, code, retryable = 409, "request_in_progress", True


# The attempt ended without an answer: the key keeps its recovery point, the lease is released.


class Indeterminate(IdempotencyError):
    """It is not known what the foreign system did. Raised by a foreign phase or its look-up.

    Args:
        message: what the client is told.
        retry_after_seconds: when the client should ask again.
    """

    status, code, retryable = 503, "outcome_unknown", True


class ForeignAccessRefused(Indeterminate):
    """The foreign system refuses whoever asks, and not what is asked for: a wrong credential, say.
    Every request ends so until it is mended, and then this one can succeed.

    `grounds` as of a `ForeignRefusal`.
    """

    def __init__(
        self, message: str, *, grounds: str = "", retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.grounds = grounds


class Postponed(IdempotencyError):
    """A phase returned `NoOp`: there was nothing that it could do yet."""

    status, code, retryable = 503, "postponed", True


class NeedsReview(IdempotencyError):
    """Only a person can decide. Raised by a foreign phase or its look-up, with the evidence.

    The key goes to the review list and is not worked on until somebody decided.

    Args:
        message: what the client and the person are told.
        evidence: what the person decides by, as JSON; 16 KiB of it are kept.
    """

    status, code, retryable = 503, "needs_review", True

    evidence: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, message: str, *, evidence: dict[str, Any] | None = None) -> None:
        super().__init__(message, retry_after_seconds=3600)
        self.evidence = evidence or {}


class ForeignRefusal(NeedsReview):
    """The foreign system refused what it was asked, and has done nothing of it. Where the phase
    `asks_anew`, a person's "run again" is a new question.

    Args:
        grounds: why, in a word that is the same for every request that is refused so, such as a
            code. Once they are the same often in a row, the completer pauses; without, it does not.
    """

    def __init__(
        self, message: str, *, evidence: dict[str, Any] | None = None, grounds: str = ""
    ) -> None:
        super().__init__(message, evidence=evidence)
        self.grounds = grounds


class ParameterGone(NeedsReview):
    """A row that the request was about no longer exists: only a person can say what is to be."""


class Parked(IdempotencyError):
    """This code cannot go on with the key: it does not know its operation or its recovery point.

    Nothing is lost: after the next deploy, perhaps, it is tried again.
    """

    status, code, retryable = 503, "parked", True


class SendingPaused(Parked):
    """The foreign system has refused so many calls of the phase in a row that the completer waits
    before it makes the next one.
    """


class ConflictPersists(IdempotencyError):
    """Serialization failures or deadlocks outlasted the retries."""

    status, code, retryable = 409, "conflict", True


class DatabaseUnavailable(IdempotencyError):
    """The database cannot be reached, or ended the session."""

    status, code, retryable = 503, "database_unavailable", True


class ServiceStopping(IdempotencyError):
    """The process was asked to stop, and does not begin the next phase."""

    status, code, retryable = 503, "stopping", True


class PhaseFailed(IdempotencyError):
    """A phase raised an error that nobody expected. Its cause is logged, and kept on the key."""

    status, code, retryable = 500, "internal_error", True


class ReviewRefused(Exception):
    """A person's decision on a request can't be carried out; the message says why. Where the
    request was on the review list, it still is.
    """


# The operation's code broke a rule of the library. These end as a `PhaseFailed`.


class OperationMisuse(Exception):
    """An operation's code did what the library forbids."""


class ForeignCallInsideTransaction(OperationMisuse):
    """A foreign call was about to be made while a transaction was open."""


class OperationNotStaged(OperationMisuse):
    """An operation was to be staged under another request's key, or with what its form refuses."""


class CalledInsideTransaction(OperationMisuse):
    """An operation was called while a transaction was open."""


class OutsideForeignPhase(OperationMisuse):
    """A foreign phase's own key was asked for where no foreign phase is in hand."""


class InvalidTransition(OperationMisuse):
    """A phase returned something else than its three results, or a point not after its own."""


class PendingMisused(OperationMisuse):
    """What a foreign phase said to be pending has no reference, or times that cannot be kept."""


class ParameterNotKept(OperationMisuse):
    """A form made a value of the request that cannot be kept for later attempts."""


class StagedOutsideTransaction(OperationMisuse):
    """A job was to be staged with no transaction open that it could commit with."""


class UnsendableAnswer(OperationMisuse):
    """A phase's answer cannot be stored, or cannot be sent as it is."""


# A job did not end well. Its delivery record stays, unless it was settled before.


class JobError(Exception):
    """What this app raises of a job."""


class JobFailed(JobError):
    """A job was not done; its delivery record has the error, and it is handed over again."""


class JobOverLimit(BaseException):
    """A job takes longer than its limit. No `except Exception` of the job's own may swallow it."""


class JobSessionLost(JobError):
    """The session with the database ended while a job ran."""


class JobWentOnAfterError(JobError):
    """A job caught an error of the database, whose transaction keeps nothing from there on."""


class JobLeaseLost(JobError):
    """This worker's lease of a job has ended, so it settles nothing and keeps nothing."""


class BrokerAway(ConnectionError):
    """A queue's broker cannot be reached; what it did not get is due at once when it is back."""


class JobUnknown(OperationMisuse):
    """A job names no task of this code, or one that does not take its arguments."""


class JobUnstorable(OperationMisuse):
    """A job's arguments contain what PostgreSQL cannot keep: NUL, half a character, NaN."""


class WriteOutsideSettling(OperationMisuse):
    """A job that calls out ran a statement other than a SELECT outside of its settling block."""


class SettlingOpenedTwice(OperationMisuse):
    """A job opened its settling block a second time."""


class SettlingNotKept(OperationMisuse):
    """A job went on as if nothing were wrong after its settling block had been rolled back."""
