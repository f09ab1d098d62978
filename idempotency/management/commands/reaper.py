from typing import Any

from idempotency.management.worker_command import WorkerCommand
from idempotency.support.batches import Batch
from idempotency.workers.overdue import Overdue
from idempotency.workers.reaping import reap


class Command(WorkerCommand):
    help = "Remove old finished keys in two steps; send old unfinished ones to review."

    def begin(self, **options: Any) -> None:
        self.overdue = Overdue()

    def run_batch(self, limit: int) -> Batch:
        return reap(limit, self.overdue)
