"""Stage a job in the transaction of its phase: the one function of jobs that a phase calls."""

import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from zoneinfo import ZoneInfo

from django.utils import timezone
from django.utils.module_loading import import_string

from idempotency.database import connection, reads_where_it_writes
from idempotency.exceptions import JobUnknown, JobUnstorable, StagedOutsideTransaction
from idempotency.support.compat import InvalidTask, Task, normalize_json

LONGEST_ATTEMPT = timedelta(minutes=2)
"""A job is written with the last commit of an attempt, which began no longer before that: so far
back is its request looked for."""

_staged_job_ids: ContextVar[list[str] | None] = ContextVar("staged_job_ids", default=None)
_user_in_hand: ContextVar[Any] = ContextVar("user_in_hand", default=None)

# A time that is over asks for nothing: such a job is staged like any other.
STAGE_JOB = """
INSERT INTO idempotency_stagedjob
       (job_id, job_name, job_args, run_after, priority, queue_name, backend, created_at)
VALUES (%(job_id)s, %(job_name)s, %(job_args)s::jsonb,
        NULLIF(GREATEST(%(run_after)s::timestamptz, statement_timestamp()), statement_timestamp()),
        %(priority)s, %(queue_name)s, %(backend)s, statement_timestamp())
"""

# In JSON a backslash is one of a pair, or begins an escape.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueOptions:
    """What was asked of the queue by `task.using(…)`; what was not is the task's own.

    What a task says of itself is not kept with its jobs, so a deploy that gives it another queue
    takes along those that wait.
    """

    priority: int | None = None
    queue_name: str = ""
    backend: str = ""

    @classmethod
    def asked_of(cls, task: Task, own: Task) -> Self:
        """In what the task to be staged is unlike the one that its name leads to."""
        return cls(
            priority=int(task.priority) if task.priority != own.priority else None,
            queue_name=task.queue_name if task.queue_name != own.queue_name else "",
            backend=task.backend if task.backend != own.backend else "",
        )

    def over(self, own: Task) -> dict[str, Any]:
        """For `Task.using`: what was asked, and for the rest what the task has of its own."""
        return {
            "priority": own.priority if self.priority is None else self.priority,
            "queue_name": self.queue_name or own.queue_name,
            "backend": self.backend or own.backend,
        }


def stage_job(task: Task, *args: Any, **kwargs: Any) -> uuid.UUID:
    """Write a job into the open transaction: it is owed if and only if that commits.

    Args:
        task: a Django task, or what its `using(…)` returned.
        args, kwargs: what the task's `enqueue` takes: plain JSON. `settling` and a context are not
            among them: the library passes them when the job runs.

    Returns: the job's id.

    Raises: `StagedOutsideTransaction` where no transaction is open, `JobUnknown` where the task's
    name leads to no task, `TypeError` for arguments that are not JSON, `JobUnstorable` for those
    that PostgreSQL cannot keep, and the framework's `InvalidTask` for what the queue cannot do.
    """
    if not connection.in_atomic_block:
        raise StagedOutsideTransaction(f"{task.module_path} was staged with no transaction open.")
    own = task_named(task.module_path)
    task.get_backend().validate_task(task)
    job_id = uuid.uuid4()
    values = {
        "job_id": job_id,
        "job_name": task.module_path,
        "job_args": _storable_arguments(task, args, kwargs),
        "run_after": _time_of(task),
        **asdict(QueueOptions.asked_of(task, own)),
    }
    with connection.cursor() as cursor:
        cursor.execute(STAGE_JOB, values)
    staged = _staged_job_ids.get()
    if staged is not None:
        staged.append(str(job_id))
    return job_id


@contextmanager
def staging_for(user: Any) -> Iterator[None]:
    """Note the ids of the jobs that are staged in the block, for the key's journal; and for whom an
    operation is that is staged in it. What is read there is read from where it is written.
    """
    jobs, whose = _staged_job_ids.set([]), _user_in_hand.set(user)
    reads = reads_where_it_writes.set(True)
    try:
        yield
    finally:
        _staged_job_ids.reset(jobs)
        _user_in_hand.reset(whose)
        reads_where_it_writes.reset(reads)


def user_in_hand() -> Any:
    """Return the user of the operation whose phase runs.

    Raises: `TypeError` where none does.
    """
    user = _user_in_hand.get()
    if user is None:
        raise TypeError("stage_operation is called outside of a phase: say whose it is, user=….")
    return user


def take_staged_job_ids() -> list[str]:
    """Return the ids of the jobs that were staged since the last call, in their order."""
    staged = _staged_job_ids.get() or []
    taken = staged[:]
    staged.clear()
    return taken


def task_named(job_name: str) -> Task:
    found = import_string(job_name)
    if not isinstance(found, Task):
        raise JobUnknown(f"{job_name} is not a task.")
    return found


def _time_of(task: Task) -> datetime | None:
    """With `USE_TZ` off the framework takes whatever it is given; and with it on a time that is in
    the year 10000 elsewhere, which PostgreSQL keeps and Python cannot read again.
    """
    at = task.run_after
    if at is None:
        return None
    if not isinstance(at, datetime):
        raise InvalidTask(f"run_after must be a datetime, and is a {type(at).__name__}.")
    if timezone.is_naive(at):
        return at
    zone = connection.timezone_name  # in which the driver reads it
    try:
        at.astimezone(ZoneInfo(zone))
        return at.astimezone(UTC)
    except (OverflowError, ValueError) as error:
        raise InvalidTask(f"run_after is out of range, in UTC or in {zone}.") from error


def _storable_arguments(task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """The framework takes some values that PostgreSQL's `jsonb` has no place for."""
    what = f"{task.module_path} was not staged: its arguments contain"
    plain = normalize_json({"args": args, "kwargs": kwargs})
    try:
        text = json.dumps(plain, allow_nan=False, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError as error:
        raise JobUnstorable(f"{what} half a character (a lone surrogate).") from error
    except ValueError as error:
        raise JobUnstorable(f"{what} a number that JSON has no word for ({error}).") from error
    if _NUL.search(text):
        raise JobUnstorable(f"{what} a NUL character.")
    return text
