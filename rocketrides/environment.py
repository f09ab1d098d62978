"""Where configuration comes from: the environment, and `.env` for what it leaves out.

It is apart from the settings because the sandbox's own commands need it without Django, and
without the database that the settings bring up.
"""

from pathlib import Path

from environ import Env  # type: ignore[import-untyped]

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()
if (BASE_DIR / ".env").exists():
    env.read_env(BASE_DIR / ".env")

LOCAL_DIR = (BASE_DIR / env.str("LOCAL_DIR", default=".local")).resolve()
