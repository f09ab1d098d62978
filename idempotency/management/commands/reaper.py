from idempotency.management.worker_command import WorkerCommand
from idempotency.reaping import reap_finished_keys, send_overdue_keys_to_review
from idempotency.worker import Batch


class Command(WorkerCommand):
    help = "Removes finished keys past their retention; sends unfinished ones to review."

    def run_batch(self, limit: int) -> Batch:
        reaped = reap_finished_keys(limit)
        sent = send_overdue_keys_to_review(limit)
        return Batch(
            f"reaped={reaped} needs_review={sent}" if sent else f"reaped={reaped}",
            did_something=reaped + sent > 0,
            is_full=reaped >= limit or sent >= limit,
        )
