"""What the worker commands have in common: `--once`, the batch size, and the shared loop."""

import logging
from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand

from idempotency import conf, doors
from idempotency.support.batches import Batch
from idempotency.workers.loop import run_worker

logger = logging.getLogger(__name__)


def positive(text: str) -> int:
    """A command's argument: a whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise ArgumentTypeError(f"{text} is not a whole number from 1 on")
    return number


class WorkerCommand(BaseCommand):
    """A subclass says what a batch is (`run_batch`) and how long to pause when idle (`pause`)."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="Run one batch and exit.")
        parser.add_argument(
            "--batch-size",
            type=positive,
            default=conf.current().batch_size,
            help="The most rows that one batch takes (default: %(default)s).",
        )

    def handle(self, *, once: bool, batch_size: int, **options: Any) -> None:
        name = self.__class__.__module__.rpartition(".")[2]
        if not once:
            run_worker(name, lambda: self._run_unless_closed(batch_size), pause=self.pause())
        elif doors.are_closed():
            self.stdout.write("doors=closed")
        else:
            batch = self.run_batch(batch_size)
            logger.info("%s: %s", name, batch.logged)
            self.stdout.write(batch.printed)

    def run_batch(self, limit: int) -> Batch:
        raise NotImplementedError

    def pause(self) -> timedelta:
        return conf.current().idle_pause

    def _run_unless_closed(self, limit: int) -> Batch:
        return Batch({}) if doors.are_closed() else self.run_batch(limit)
