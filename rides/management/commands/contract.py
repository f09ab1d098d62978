from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from rides.contract import text

ROOT = Path(__file__).resolve().parents[3]
PLACE = ROOT / "docs" / "openapi.json"


class Command(BaseCommand):
    """A test holds the file to the code."""

    help = "Write the contract with clients to docs/openapi.json."

    def handle(self, **options: Any) -> None:
        PLACE.write_text(text(), encoding="utf-8")
        self.stdout.write(f"wrote {PLACE.relative_to(ROOT)}")
