from typing import Any

from idempotency.management.worker_command import WorkerCommand
from idempotency.workers.loop import Batch
from idempotency.workers.reaping import Overdue, reap


class Command(WorkerCommand):
    help = "Takes old finished keys away in two steps; sends old unfinished ones to review."

    def handle(self, **options: Any) -> None:
        self.overdue = Overdue()
        super().handle(**options)

    def run_batch(self, limit: int) -> Batch:
        done = reap(limit, self.overdue)
        fullest = max(done.reaped, done.removed, done.needs_review)
        return Batch(
            f"reaped={done.reaped}",
            did_something=done.total > 0,
            is_full=fullest >= limit,
            details=str(done),
        )
