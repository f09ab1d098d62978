"""What the worker commands have in common: `--once`, the batch size, the cells, the shared loop."""

import logging
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand

from idempotency import conf, doors
from idempotency.cells import in_cell
from idempotency.foreign_keys import know_namespace
from idempotency.support.batches import Batch
from idempotency.support.described import described
from idempotency.workers.loop import run_worker, run_worker_in_cells

logger = logging.getLogger(__name__)


def positive(text: str) -> int:
    """A command's argument: a whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise ArgumentTypeError(f"{text} is not a whole number from 1 on")
    return number


def add_cells(parser: ArgumentParser) -> None:
    """Let a worker serve several cells."""
    parser.add_argument(
        "--cells",
        type=lambda text: [cell.strip() for cell in text.split(",") if cell.strip()],
        default=[],
        metavar="CELL,CELL",
        help="The schemas to work in, each in a thread (default: the connection's own).",
    )


class WorkerCommand(BaseCommand):
    """A subclass says what a batch is (`run_batch`) and how long to pause when idle (`pause`).

    What it remembers from one batch to the next it makes in `begin`: there is one object for each
    cell.
    """

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="Run one batch and exit.")
        parser.add_argument(
            "--batch-size",
            type=positive,
            default=conf.current().batch_size,
            help="The most rows that one batch takes (default: %(default)s).",
        )
        add_cells(parser)

    def handle(self, *, once: bool, batch_size: int, cells: list[str], **options: Any) -> None:
        name = self.__class__.__module__.rpartition(".")[2]
        own = {cell: self._of_its_own(**options) for cell in cells or [""]}
        if once:
            _run_each_once(name, own, batch_size)
            return
        batches = {
            cell: partial(command.run_unless_closed, batch_size) for cell, command in own.items()
        }
        if cells:
            run_worker_in_cells(name, batches, pause=self.pause())
        else:
            run_worker(name, batches[""], pause=self.pause())

    def begin(self, **options: Any) -> None:
        """Make what is remembered from one batch to the next."""

    def run_once(self, name: str, batch_size: int) -> None:
        if doors.are_closed():
            self.stdout.write("doors=closed")
            return
        know_namespace()
        batch = self.run_batch(batch_size)
        logger.info("%s: %s", name, batch.logged)
        self.stdout.write(batch.printed)

    def run_batch(self, limit: int) -> Batch:
        raise NotImplementedError

    def pause(self) -> timedelta:
        return conf.current().idle_pause

    def run_unless_closed(self, limit: int) -> Batch:
        if doors.are_closed():
            return Batch({})
        know_namespace()
        return self.run_batch(limit)

    def _of_its_own(self, **options: Any) -> "WorkerCommand":
        own = type(self)()
        own.stdout = self.stdout
        own.begin(**options)
        return own


def _run_each_once(name: str, own: Mapping[str, WorkerCommand], batch_size: int) -> None:
    """Run a batch in each cell: one that is away keeps no other from its own.

    Raises: what the first of them did that failed, after all.
    """
    errors = []
    for cell, command in own.items():
        try:
            with in_cell(cell):
                command.run_once(name, batch_size)
        except Exception as error:
            errors.append(error)
            logger.warning("%s: batch failed: cell=%s error=%s", name, cell, described(error))
    if errors:
        raise errors[0]
