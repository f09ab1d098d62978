from datetime import timedelta

from idempotency import conf
from idempotency.management.worker_command import WorkerCommand
from idempotency.queue import run_queued_jobs
from idempotency.worker import Batch


class Command(WorkerCommand):
    help = "Runs jobs from the database queue (django-tasks-db)."

    def run_batch(self, limit: int) -> Batch:
        done = run_queued_jobs(limit)
        return Batch(
            f"succeeded={done.succeeded} failed={done.failed}",
            did_something=done.total > 0,
            is_full=done.total >= limit,
        )

    def pause(self) -> timedelta:
        return conf.current().enqueuer_pause
