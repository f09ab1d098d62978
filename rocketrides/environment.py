"""Where configuration comes from: the environment, and `.env` for what it leaves out.

It is apart from the settings because the sandbox's own commands need it without Django, and
without the database that the settings bring up.
"""

from pathlib import Path
from typing import NoReturn
from uuid import UUID

from environ import Env  # type: ignore[import-untyped]

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()
if (BASE_DIR / ".env").exists():
    env.read_env(BASE_DIR / ".env")

LOCAL_DIR = (BASE_DIR / env.str("LOCAL_DIR", default=".local")).resolve()

PORTS = range(1, 65_536)
SECONDS = range(1_000_000_000)


def refuse_to_start(reason: str) -> NoReturn:
    """Raises: SystemExit, because it ends manage.py and a server alike with this one line."""
    raise SystemExit(f"Rocket Rides does not start: {reason} (.env.example explains each variable)")


def namespace(name: str, *, default: str) -> UUID:
    """Return the UUID that the variable holds, or `default` where it holds nothing.

    Raises: SystemExit, in one line, for anything else.
    """
    text = env.str(name, default="") or default
    try:
        return UUID(text)
    except ValueError:
        refuse_to_start(f"{name} is {text!r}, which is not a UUID")


def number(name: str, allowed: range, *, default: int = 0) -> int:
    """Return what the variable says, or `default` where it says nothing.

    Raises: SystemExit, in one line, for anything else than a whole number in `allowed`.
    """
    text = env.str(name, default="")
    try:
        value = int(text) if text else default
    except ValueError:
        value = allowed.start - 1
    if value not in allowed:
        bounds = f"from {allowed.start} to {allowed.stop - 1}"
        refuse_to_start(f"{name} is {text!r}, which is not a whole number {bounds}")
    return value
