from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from idempotency import conf
from idempotency.management.worker_command import WorkerCommand, positive
from idempotency.support.batches import Batch
from idempotency.support.positions import Position
from idempotency.workers.completing import complete_due_keys


class Command(WorkerCommand):
    help = "Complete the requests that their clients have abandoned."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--concurrency",
            type=positive,
            default=1,
            help="How many keys to run at a time, each with a database connection of its own "
            "(default: %(default)s).",
        )

    def begin(self, **options: Any) -> None:
        self.concurrency = options["concurrency"]
        self.position = Position()

    def run_batch(self, limit: int) -> Batch:
        return complete_due_keys(limit, concurrency=self.concurrency, position=self.position)

    def pause(self) -> timedelta:
        return conf.current().completer_idle_pause
