"""The task that a job names: found by its name, with what it takes and what was asked of it.

Open it before you stage a job, hand one over or run one: all three go by what stands here.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from django.utils.module_loading import import_string

from idempotency.compat import Task
from idempotency.exceptions import JobUnknown


def task_named(job_name: str) -> Task:
    found = import_string(job_name)
    if not isinstance(found, Task):
        raise JobUnknown(f"{job_name} is not a task.")
    return found


def calls_out(job: Task) -> bool:
    return "settling" in inspect.signature(job.func).parameters


def called_with(
    job: Task,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    context: Any = None,
    settling: Any = None,
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of the call: those that were staged, and what the library passes with them."""
    passed = {"settling": settling} if calls_out(job) else {}
    return [context, *args] if job.takes_context else [*args], dict(**kwargs, **passed)


def refuse_wrong_arguments(job: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """*Raises* `JobUnknown`, which names an argument and no value."""
    try:
        called_args, called_kwargs = called_with(job, args, kwargs)
        inspect.signature(job.func).bind(*called_args, **called_kwargs)
    except TypeError as error:
        raise JobUnknown(f"The task does not take these arguments: {error}.") from error


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
