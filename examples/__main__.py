"""`python -m examples --python PATH hotel drf`: run the tests of examples.

Each runs from a copy in an empty folder, with a Python that has the wheel and not this repository.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from rocketrides.environment import LOCAL_DIR, configured_database_url
from sandbox import postgres

HERE = Path(__file__).parent
EXPLORATION = "tests/test_every_boundary.py"
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".pytest_cache", "postgres")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples", description=__doc__)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--python", type=Path, required=True, help="which has the wheel installed")
    parser.add_argument("--short", action="store_true", help="leave the explorations out")
    asked = parser.parse_args()
    options = [f"--ignore={EXPLORATION}"] if asked.short else []
    failed = [name for name in asked.names if not passes(name, asked.python.absolute(), options)]
    if failed:
        raise SystemExit(f"Failed: {', '.join(failed)}")


def passes(name: str, python: Path, options: list[str]) -> bool:
    began_at = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(HERE / name, Path(folder) / name, ignore=LEFT_OUT)
        command = [str(python), "-m", "pytest", "-q", *options]
        ran = subprocess.run(command, cwd=copy, env=environment(), check=False)
    print(f"{name}: {time.monotonic() - began_at:.0f} s\n", flush=True)
    return ran.returncode == 0


def environment() -> dict[str, str]:
    """Return what an example needs of this machine, and nothing that leads to this repository."""
    url = configured_database_url() or postgres.url(LOCAL_DIR / "postgres", "postgres")
    kept = {
        name: value for name, value in os.environ.items() if name in ("HOME", "PATH", "CRASHES")
    }
    return {**kept, "DATABASE_URL": url}


main()
