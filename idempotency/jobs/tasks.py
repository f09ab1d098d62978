"""What a job's task takes: the staged arguments, and what the library passes with them."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from idempotency.exceptions import JobUnknown
from idempotency.support.compat import Task


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
    """Return the arguments of the call: those that were staged, and what the library adds."""
    passed = {"settling": settling} if calls_out(job) else {}
    return [context, *args] if job.takes_context else [*args], dict(**kwargs, **passed)


def refuse_wrong_arguments(job: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raises: `JobUnknown`, which names an argument and no value."""
    try:
        called_args, called_kwargs = called_with(job, args, kwargs)
        inspect.signature(job.func).bind(*called_args, **called_kwargs)
    except TypeError as error:
        raise JobUnknown(f"The task does not take these arguments: {error}.") from error
