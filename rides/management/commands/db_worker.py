from argparse import ArgumentParser
from datetime import timedelta
from functools import partial
from typing import Any

from django_tasks_db.management.commands.db_worker import Command as DbWorker
from django_tasks_db.management.commands.db_worker import Worker

from idempotency.foreign_keys import know_namespace
from idempotency.management.worker_command import add_cells
from idempotency.support.batches import Batch
from idempotency.watching.pulse import pulse_of
from idempotency.workers.loop import run_worker_in_cells


class Command(DbWorker):
    """The queue's own worker, which is seen before its first job, and may serve several cells."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_cells(parser)

    def handle(self, **options: Any) -> None:
        if cells := options.pop("cells"):
            self.configure_logging(options["verbosity"])
            each = partial(run_next_job, options)
            pause = timedelta(seconds=options["interval"])
            run_worker_in_cells("worker", dict.fromkeys(cells, each), pause=pause)
        else:
            pulse_of("worker")
            super().handle(**options)


def run_next_job(options: dict[str, Any]) -> Batch:
    """Have the queue's own worker run one job of this thread's cell, if one waits."""
    pulse_of("worker")
    know_namespace()
    worker = Worker(
        queue_names=options["queue_name"].split(","),
        excluded_queue_names=[name for name in options["exclude_queues"].split(",") if name],
        interval=0,
        batch=True,
        max_tasks=1,
        startup_delay=False,
        backend_name=options["backend_name"],
        worker_id=options["worker_id"],
    )
    worker.run()
    return Batch({}, is_full=bool(worker._run_tasks))
