"""`python -m proof.evidence`: the proofs in their long form, and the page of what they printed.

Each is a process of its own, and its output goes into docs/evidence.md as it came, so that the page
says what was run and nothing else. `--scale 0.01` tries it out with a hundredth of everything.
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import commit
from rocketrides.environment import BASE_DIR

PAGE = BASE_DIR / "docs" / "evidence.md"

INTRODUCTION = """\
# Evidence

The proofs in their long form, each run once, by `make evidence`, which wrote this page: below each
command stands what it printed. [testing.md](testing.md) says what each of them does.
"""


@dataclass(frozen=True)
class Run:
    """A command as one would type it, from `python` on, and its environment's additions."""

    title: str
    command: str
    variables: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join(
            [*(f"{name}={value}" for name, value in self.variables.items()), self.command]
        )


@dataclass(frozen=True)
class Ran:
    """What a run printed, and how it ended."""

    run: Run
    commit: str
    began_at: datetime
    seconds: float
    printed: str
    status: int

    def __str__(self) -> str:
        failed = f" **It failed, with status {self.status}.**" if self.status else ""
        return (
            f"## {self.run.title}\n\n"
            f"`{self.run}`\n\n"
            f"{self.began_at:%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, {self.seconds:.0f} s, "
            f"commit {self.commit}.{failed}\n\n"
            f"```\n{self.printed.strip()}\n```\n"
        )


def main() -> int:
    options = parse()
    done: list[Ran] = []
    for run in runs(options.scale):
        if options.only not in str(run):
            continue
        sys.stdout.write(f"{run.title}: {run}\n")
        sys.stdout.flush()
        done.append(carry_out(run))
        # After each, so that what has been run is there whatever becomes of the rest.
        options.page.write_text("\n".join([INTRODUCTION, *map(str, done)]))
    return 1 if any(ran.status for ran in done) else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proof.evidence", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the long forms (default: 1)")
    parser.add_argument("--only", default="", help="those whose command has this in it")
    parser.add_argument("--page", type=Path, default=PAGE, help="where to write it")
    return parser.parse_args()


def runs(scale: float) -> Iterator[Run]:
    """The long forms of what docs/testing.md lists."""
    boundaries = "python -m pytest -q proof/tests/test_every_boundary.py"
    everything = {"CRASHES": "all"} if scale >= 1 else {}
    yield Run("Every boundary, in every combination", boundaries, everything)
    kills = {"KILLS": str(round(5_000 * scale))}
    yield Run("Killed thousands of times", f"{boundaries} -k thousands", kills)
    others = "python -m pytest -q idempotency/tests -k every_boundary"
    yield Run("Every boundary of other operations", others, everything)
    yield chaos("PostgreSQL restarted", 5 * scale, "--nemeses PostgreSQL --clients 4 --seed 12")
    yield chaos("Stripe fails", 8 * scale, "--nemeses Stripe --clients 12 --seed 13")
    yield chaos("Concurrent duplicates", 8 * scale, "--nemeses --clients 8 --seed 11")
    yield chaos("Everything at once", 10 * scale, "--clients 12 --seed 14")
    times = max(1, round(20 * scale))
    for way in ("address", "hosts"):
        switchovers = f"python -m proof.failover --way {way} --switchovers {times}"
        yield Run(f"Switched over, by the {way}", switchovers)
    losses = f"python -m proof.losses --losses {times}"
    yield Run("Failed over, with the last commits lost", losses)
    yield Run("Restarted in turn", f"python -m proof.rolling --restarts {times}")
    steps = {"STEPS": str(round(100_000 * scale))}
    yield Run("The model", "python -m pytest -q proof/tests/test_model.py -k any_order", steps)
    another = "python -m pytest -q idempotency/tests/test_model_of_another.py -k any_order"
    yield Run("The model of another operation", another, {"STEPS": str(round(20_000 * scale))})
    requests = f"python -m proof.fuzz --requests {round(100_000 * scale)}"
    yield Run("Asked what none should ask", requests)
    yield Run("Planted bugs", "python -m pytest -q proof/tests/test_planted_bugs.py")


def chaos(title: str, minutes: float, options: str) -> Run:
    return Run(title, f"python -m proof.chaos --minutes {minutes:g} {options}")


def carry_out(run: Run) -> Ran:
    checked_out, began_at, began = commit(), datetime.now(UTC), time.monotonic()
    ran = subprocess.run(  # noqa: S603 - our own modules
        [sys.executable, *shlex.split(run.command)[1:]],
        cwd=BASE_DIR,
        env={**os.environ, **run.variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    printed = ran.stdout.replace(str(BASE_DIR), ".")  # where it lies says nothing to a reader
    return Ran(run, checked_out, began_at, time.monotonic() - began, printed, ran.returncode)


if __name__ == "__main__":
    sys.exit(main())
