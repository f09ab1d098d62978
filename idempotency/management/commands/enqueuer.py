from datetime import timedelta
from functools import cached_property

from idempotency import conf
from idempotency.jobs.enqueuing import Lookout
from idempotency.management.worker_command import WorkerCommand
from idempotency.support.batches import Batch


class Command(WorkerCommand):
    help = "Hand staged jobs over to the job queue, and again those that the queue has lost."

    @cached_property
    def lookout(self) -> Lookout:
        return Lookout()

    def run_batch(self, limit: int) -> Batch:
        return self.lookout.enqueue(limit)

    def pause(self) -> timedelta:
        return conf.current().enqueuer_pause
