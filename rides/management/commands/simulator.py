"""`manage.py simulator`: traffic for the demonstration, and a table of the answers."""

import argparse
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from rides.simulation.clients import RIDER, Simulation

SECONDS_BETWEEN_LINES = 10


class Command(BaseCommand):
    """Runs a simulation until it ends or a signal ends it, and prints its table either way."""

    help = (
        "Book rides as user@example.com and print a summary at the end. By default as the original "
        "did: a request every 0 to 1 seconds, half of them failing midway, nobody trying again."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--rate", type=positive, default=2.0, help="clients a second, on average (default: 2)"
        )
        parser.add_argument(
            "--duration",
            type=positive,
            default=math.inf,
            metavar="SECONDS",
            help="how long to go on (default: until Ctrl-C)",
        )
        parser.add_argument(
            "--failures",
            type=share,
            default=0.5,
            metavar="SHARE",
            help="share of the clients whose first request fails midway (default: 0.5)",
        )
        parser.add_argument(
            "--retries",
            type=share,
            default=0.0,
            metavar="SHARE",
            help="share of the clients that send again with the same key (default: 0)",
        )
        parser.add_argument(
            "--url",
            default=f"http://127.0.0.1:{settings.PORT}",
            help="where the API listens (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        simulation = Simulation(
            url=options["url"], failures=options["failures"], retries=options["retries"]
        )
        with ending_on_signals(simulation), self.progress_of(simulation) as on_progress:
            simulation.run(
                rate=options["rate"], seconds=options["duration"], on_progress=on_progress
            )
        self.stdout.write(simulation.tally.table())
        if simulation.is_unknown_rider:
            raise CommandError(
                f"{simulation.url} refuses the rider {RIDER}. The simulator books for a rider of "
                "the demo, which needs DEMO_AUTH and the demo's database. Nothing was booked."
            )

    @contextmanager
    def progress_of(self, simulation: Simulation) -> Iterator[Callable[[], None]]:
        """Give what shows the progress: a moving line on a terminal, elsewhere one now and then."""
        if not self.stdout.isatty():
            yield self.lines_of(simulation)
            return
        with tqdm(bar_format="{elapsed} {desc}") as bar:

            def move_line() -> None:
                bar.set_description_str(simulation.tally.line(), refresh=False)
                bar.update()

            yield move_line

    def lines_of(self, simulation: Simulation) -> Callable[[], None]:
        last = time.monotonic()

        def write_line() -> None:
            nonlocal last
            if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                self.stdout.write(f"simulator {simulation.tally.line()}")
                self.stdout.flush()

        return write_line


@contextmanager
def ending_on_signals(simulation: Simulation) -> Iterator[None]:
    """End the simulation at the first SIGINT or SIGTERM; a second one has its usual effect."""
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def end(*_: Any) -> None:
        simulation.stop()
        restore()

    for number in usual:
        signal.signal(number, end)
    try:
        yield
    finally:
        restore()


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not greater than 0")
    return value


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 to 1")
    return value
