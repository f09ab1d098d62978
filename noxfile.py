"""The app's tests on every Python, Django, driver and PostgreSQL at hand: `make test-matrix`.

`make test-matrix CORNER=3.13-6.1-psycopg-debian` runs one of them; `nox --list` names all.
"""

import os
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
DEBIANS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))

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
    environment = {}
    if postgres == "debian":
        if not DEBIANS:
            session.skip("NOT TESTED: Debian's PostgreSQL, which is not installed")
        environment = {"POSTGRES_PROGRAMS": str(DEBIANS[-1].parent), "LOCAL_DIR": ".local/debian"}
    session.install("--quiet", "--requirement", DRIVERS[driver])
    session.install("--quiet", DJANGOS[django])
    venv = session.virtualenv.location
    session.run(
        *("python", "-m", "sandbox", "during"),
        *("make", "--no-print-directory", "app-specification", f"VENV={venv}"),
        env=environment,
    )
