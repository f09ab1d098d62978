from datetime import timedelta

from idempotency import conf
from idempotency.jobs import drain_staged_jobs, jobs_are_waiting, redeliver_overdue_jobs
from idempotency.management.worker_command import WorkerCommand
from idempotency.worker import Batch


class Command(WorkerCommand):
    help = "Moves staged jobs to the job queue, and hands over again what the queue lost."

    def run_batch(self, limit: int) -> Batch:
        if not jobs_are_waiting():
            return Batch("enqueued=0", did_something=False, is_full=False)
        drained = drain_staged_jobs(limit)
        redelivered = redeliver_overdue_jobs(limit)
        summary = f"enqueued={drained + redelivered}"
        return Batch(
            summary,
            did_something=drained + redelivered > 0,
            is_full=drained >= limit or redelivered >= limit,
        )

    def pause(self) -> timedelta:
        return conf.current().enqueuer_pause
