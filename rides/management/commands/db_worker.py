from typing import Any

from django_tasks_db.management.commands.db_worker import Command as DbWorker

from idempotency.watching.pulse import pulse_of


class Command(DbWorker):
    """The queue's own worker, which is seen before its first job."""

    def handle(self, **options: Any) -> None:
        pulse_of("worker")
        super().handle(**options)
