"""Real processes of the worker commands, against the test's database and its ledger."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import connection

TIMEOUT_SECONDS = 30


def run_command(*arguments: str) -> str:
    """Run a management command to its end; return what it printed."""
    with started_command(*arguments) as process:
        printed, complaints = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, complaints
    return printed


@contextmanager
def started_command(*arguments: str, **seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A management command as a process, which does not outlive the block. In `pg_stat_activity`
    it has the command's name.

    Args:
        seconds: durations of the `IDEMPOTENCY` setting in the process, such as `idle_pause`.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "django", *arguments],
        env={**os.environ, **_environment(seconds), "PGAPPNAME": arguments[0]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_line(process: subprocess.Popen[str], wanted: str) -> list[str]:
    """Read the log of a process up to the line that contains `wanted`; return what it read."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if wanted in line:
            return lines
    raise AssertionError(f"the process ended without {wanted!r}: {''.join(lines)}")


def _environment(seconds: dict[str, Any]) -> dict[str, str]:
    return {
        "DJANGO_SETTINGS_MODULE": "idempotency.tests.process_settings",
        "PROJECT_SETTINGS": os.environ["DJANGO_SETTINGS_MODULE"],
        "TEST_DATABASE": connection.settings_dict["NAME"],
        "LEDGER_URL": settings.LEDGER_URL,
        "IDEMPOTENCY_SECONDS": json.dumps(seconds),
    }
