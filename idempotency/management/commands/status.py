import sys
from typing import Any

from django.core.management.base import BaseCommand

from idempotency.watching.standing import said, standing


class Command(BaseCommand):
    """For those who have no Prometheus: as a cron job it tells by its status."""

    help = "Say how the service stands; exit with 1 where somebody should look."

    def handle(self, **options: Any) -> None:
        now = standing()
        for tile in now.tiles:
            oldest = f"oldest {said(tile.oldest_seconds)}" if tile.oldest_seconds else ""
            self._line(tile.alarm, tile.title, tile.counted, oldest)
        for worker in now.workers:
            self._line(worker.alarm, worker.name, worker.standing, worker.last)
            if worker.places:
                self.stdout.write(f"    {worker.places}")
        if now.alarms:
            sys.exit(1)

    def _line(self, alarm: bool, *columns: str) -> None:
        name, value, remark = columns
        mark = "!" if alarm else " "
        self.stdout.write(f"{mark} {name:<22}{value:<28}{remark}".rstrip())
