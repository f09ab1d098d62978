"""The app's tests on every Python, Django, driver and PostgreSQL at hand: `make test-matrix`.

`make test-matrix CORNER=3.13-6.1-psycopg-debian` runs one of them; `nox --list` names all.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nox

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
DJANGOS = {"5.2": "Django==5.2.19", "6.0": "Django==6.0.8", "6.1": "Django==6.1.3"}
DRIVERS = {"psycopg2": "requirements.txt", "psycopg": "requirements-psycopg.txt"}
POSTGRESES = ("wheel", "debian")
LEAST_PYTHON_OF_DJANGO_6 = PYTHONS.index("3.12")

INSTALLED_ELSEWHERE = Path.home() / ".pyenv" / "versions"
# Debian's tool for tests: a cluster around a command. A check of ours warns of its fsync = off.
DEBIANS_SERVER = ("pg_virtualenv", "-o", "max_connections=200", "-o", "fsync=on")

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
# A Python that is not here is skipped, and named; also where `CI` is set.
nox.options.error_on_missing_interpreters = False


def interpreters(minor: str) -> Iterator[Path]:
    """Yield where a Python may be that runs: a shim of pyenv's is on PATH, and need not run."""
    for folder in [*os.get_exec_path(), *INSTALLED_ELSEWHERE.glob(f"{minor}.*/bin")]:
        yield Path(folder) / f"python{minor}"


def runs(python: Path) -> bool:
    if not python.exists():
        return False
    asked = subprocess.run([python, "-c", "import ensurepip"], capture_output=True)  # noqa: S603
    return asked.returncode == 0


found = [next(filter(runs, interpreters(minor)), None) for minor in PYTHONS]
os.environ["PATH"] = os.pathsep.join([*(str(p.parent) for p in found if p), os.environ["PATH"]])

CORNERS = [
    nox.param(python, django, driver, postgres, id=f"{python}-{django}-{driver}-{postgres}")
    for python in PYTHONS
    for django in DJANGOS
    for driver in DRIVERS
    for postgres in POSTGRESES
    if django == "5.2" or PYTHONS.index(python) >= LEAST_PYTHON_OF_DJANGO_6
]


@nox.session
@nox.parametrize(["python", "django", "driver", "postgres"], CORNERS)
def matrix(session: nox.Session, django: str, driver: str, postgres: str) -> None:
    """Run the app's tests in one corner."""
    session.install("--quiet", "--requirement", DRIVERS[driver])
    session.install("--quiet", DJANGOS[django])
    tests = f"make --no-print-directory app-specification VENV={session.virtualenv.location}"
    if postgres == "wheel":
        session.run("python", "-m", "sandbox", "during", *tests.split())
    elif shutil.which(DEBIANS_SERVER[0]):
        tests = f"DATABASE_URL=postgres://$PGUSER:$PGPASSWORD@$PGHOST:$PGPORT/postgres {tests}"
        session.run(*DEBIANS_SERVER, "sh", "-c", tests, external=True)
    else:
        session.skip("NOT TESTED: Debian's PostgreSQL, which is not installed")
