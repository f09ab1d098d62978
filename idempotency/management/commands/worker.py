from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from idempotency import conf
from idempotency.management.worker_command import WorkerCommand
from idempotency.worker import Batch, JobsRun

DATABASE_BACKEND = "django_tasks_db.DatabaseBackend"
CELERY_BACKEND = "idempotency.backends.CeleryBackend"


class Command(WorkerCommand):
    help = "Runs jobs from the configured queue: the database's, or a broker's."

    def handle(self, **options: Any) -> None:
        self.backend = settings.TASKS["default"]["BACKEND"]
        if self.backend not in (DATABASE_BACKEND, CELERY_BACKEND):
            raise CommandError(f"{self.backend} has a worker of its own: run that.")
        super().handle(**options)

    def run_batch(self, limit: int) -> Batch:
        if self.backend == CELERY_BACKEND:
            from idempotency.broker import run_queued_jobs
        else:
            from idempotency.queue import run_queued_jobs
        return _batch(run_queued_jobs(limit), limit)

    def run_batch_of_loop(self, limit: int) -> Batch:
        if self.backend != CELERY_BACKEND:
            return self.run_batch(limit)
        from idempotency.broker import run_jobs_until_stopped

        return _batch(run_jobs_until_stopped(), limit)

    def pause(self) -> timedelta:
        return conf.current().enqueuer_pause


def _batch(done: JobsRun, limit: int) -> Batch:
    return Batch(
        f"succeeded={done.succeeded} failed={done.failed}",
        did_something=done.total > 0,
        is_full=done.total >= limit,
    )
