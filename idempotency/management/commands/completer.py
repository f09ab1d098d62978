from idempotency.completing import complete_due_keys
from idempotency.management.worker_command import WorkerCommand
from idempotency.worker import Batch


class Command(WorkerCommand):
    help = "Pushes requests that were abandoned by their clients through to completion."

    def run_batch(self, limit: int) -> Batch:
        done = complete_due_keys(limit)
        return Batch(str(done), did_something=done.total > 0, is_full=done.total >= limit)
