"""Runs jobs from the database queue of django-tasks-db, a batch at a time.

That package has a command of its own, `db_worker`. It is driven from here instead, so that the
job worker stops, backs off and logs like the other workers do.
"""

from typing import Any

from django.utils.crypto import get_random_string
from django_tasks_db.compat import DEFAULT_TASK_BACKEND_ALIAS, TaskResultStatus
from django_tasks_db.management.commands.db_worker import Worker
from django_tasks_db.models import DBTaskResult

from idempotency.worker import JobsRun, should_stop

ALL_QUEUES = "*"


def run_queued_jobs(limit: int) -> JobsRun:
    """Runs up to `limit` jobs that are ready, one after the other.

    A job that fails is marked so by the queue; its delivery record stays, so it is handed over
    again.
    """
    done = JobsRun()
    worker = _OneJobWorker(done)
    while done.total < limit and not should_stop():
        before = done.total
        worker.run()
        if done.total == before:
            break
    return done


class _OneJobWorker(Worker):
    """The package's worker, which leaves after one job, and tells how that ended."""

    def __init__(self, done: JobsRun) -> None:
        super().__init__(
            queue_names=[ALL_QUEUES],
            excluded_queue_names=[],
            interval=0,
            batch=True,
            backend_name=DEFAULT_TASK_BACKEND_ALIAS,
            startup_delay=False,
            max_tasks=1,
            worker_id=get_random_string(32),
        )
        self.done = done

    def run(self) -> None:
        self._run_tasks = 0
        super().run()

    def run_task(self, db_task_result: DBTaskResult[Any, Any]) -> None:
        super().run_task(db_task_result)
        if db_task_result.status == TaskResultStatus.SUCCESSFUL:
            self.done.succeeded += 1
        else:
            self.done.failed += 1
