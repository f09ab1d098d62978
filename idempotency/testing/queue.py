"""The queue in the database, as its worker would run it: `manage.py db_worker`, in this process."""

from collections import Counter
from dataclasses import dataclass

from django.utils.crypto import get_random_string
from django_tasks_db.compat import DEFAULT_TASK_BACKEND_ALIAS, TaskResultStatus
from django_tasks_db.management.commands.db_worker import Worker
from django_tasks_db.models import DBTaskResult


@dataclass(frozen=True, slots=True)
class JobsRun:
    """How many jobs ended well and how many did not."""

    succeeded: int
    failed: int


def run_queued_jobs(limit: int) -> JobsRun:
    """Run up to `limit` jobs that are ready, one after the other."""
    worker_id = get_random_string(32)
    Worker(
        queue_names=["*"],
        excluded_queue_names=[],
        interval=0,
        batch=True,
        backend_name=DEFAULT_TASK_BACKEND_ALIAS,
        startup_delay=False,
        max_tasks=limit,
        worker_id=worker_id,
    ).run()
    ours = DBTaskResult.objects.filter(worker_ids__contains=[worker_id])
    ended = Counter(ours.values_list("status", flat=True))
    return JobsRun(ended[TaskResultStatus.SUCCESSFUL], ended[TaskResultStatus.FAILED])
