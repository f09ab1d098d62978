"""Stage a job in the transaction of its phase: the one function of jobs that a phase calls."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection

from idempotency.compat import Task
from idempotency.exceptions import StagedOutsideTransaction
from idempotency.statements import run

_staged_job_ids: ContextVar[list[str] | None] = ContextVar("staged_job_ids", default=None)

STAGE_JOB = """
INSERT INTO idempotency_stagedjob (job_id, job_name, job_args, created_at)
VALUES (%(job_id)s, %(job_name)s, %(job_args)s::jsonb, clock_timestamp())
"""


def stage_job(task: Task, *args: Any, **kwargs: Any) -> uuid.UUID:
    """Writes a job into the open transaction: it is owed if and only if that commits.

    Args:
        task: a Django task. Its arguments must be JSON. `settling` is not among them: the library
            passes it when the job runs.

    *Raises* `StagedOutsideTransaction` where no transaction is open, `TypeError` for arguments
    that are not JSON.
    """
    if not connection.in_atomic_block:
        raise StagedOutsideTransaction(f"{task.module_path} was staged with no transaction open.")
    job_id = uuid.uuid4()
    with connection.cursor() as cursor:
        run(
            cursor,
            STAGE_JOB,
            {
                "job_id": job_id,
                "job_name": task.module_path,
                "job_args": json.dumps({"args": args, "kwargs": kwargs}, cls=DjangoJSONEncoder),
            },
        )
    staged = _staged_job_ids.get()
    if staged is not None:
        staged.append(str(job_id))
    return job_id


@contextmanager
def recording_staged_jobs() -> Iterator[list[str]]:
    """Collects the ids of the jobs staged inside it, for the key's journal."""
    staged: list[str] = []
    token = _staged_job_ids.set(staged)
    try:
        yield staged
    finally:
        _staged_job_ids.reset(token)
