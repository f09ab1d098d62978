"""On what a benchmark ran: cores, memory, versions, commit. Nothing that names the machine."""

import os
import platform
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from bench import database
from rocketrides.environment import BASE_DIR

ALTERNATIVES = [
    *sorted((BASE_DIR / "bench").glob("requirements*.txt")),
    BASE_DIR / "requirements-psycopg.txt",
]
PACKAGES = ("Django", "psycopg2-binary", "granian", "stripe")


def described() -> list[str]:
    """A line each for the machine, the programs, and the commit."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GB"
    return [
        f"machine: {os.cpu_count()} cores ({_processor()}), {memory}, "
        f"{platform.system()} {platform.machine()}; "
        "PostgreSQL, the service, Stripe's stand-in and the load generator share it",
        f"programs: Python {platform.python_version()}, PostgreSQL {database.version()} "
        f"(durable, by a Unix socket), {packages}",
        f"alternatives: {_alternatives()}",
        f"load: {_load_generators() if shutil.which('wrk') else 'pgbench with one thread'}",
        f"commit: {commit()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    ]


def command() -> str:
    return " ".join(["python -m bench", *sys.argv[1:]])


def commit() -> str:
    """The commit that is checked out, with `-changed` where files differ from it."""
    named = _git("rev-parse", "--short", "HEAD") or "unknown"
    return f"{named}-changed" if _git("status", "--porcelain", "--untracked-files=no") else named


def _load_generators() -> str:
    wrk = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"wrk\s+(\S+)", wrk)
    return f"wrk {found[1] if found else ''} with one thread, pgbench with one thread"


def _alternatives() -> str:
    pins = "\n".join(file.read_text() for file in ALTERNATIVES)
    return ", ".join(" ".join(pin) for pin in re.findall(r"^([\w-]+)\S*==(\S+)", pins, re.M))


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    found = (
        re.search(r"model name\s*:\s*(.+)", described.read_text()) if described.exists() else None
    )
    return found[1] if found else platform.processor() or "unknown"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(BASE_DIR), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
