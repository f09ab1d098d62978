from datetime import timedelta
from functools import cached_property

from idempotency import conf
from idempotency.jobs.enqueuing import Lookout
from idempotency.management.worker_command import WorkerCommand
from idempotency.workers.loop import Batch


class Command(WorkerCommand):
    help = "Moves staged jobs to the job queue, and hands over again what the queue lost."

    @cached_property
    def lookout(self) -> Lookout:
        return Lookout()

    def run_batch(self, limit: int) -> Batch:
        done = self.lookout.enqueue(limit)
        return Batch(f"enqueued={done.count}", did_something=done.count > 0, is_full=done.is_full)

    def pause(self) -> timedelta:
        return conf.current().enqueuer_pause
