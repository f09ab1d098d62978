"""Starting the stand-in as a process of its own, for tests and for `manage.py runserver`."""

import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.stripe.control import StandIn

START_SECONDS = 30.0  # of a machine with much else to do
STOP_SECONDS = 5.0
ROOT = Path(__file__).resolve().parents[2]


class StandInFailed(Exception):
    """The stand-in did not start; the reason is on its standard error."""


@contextmanager
def running_stand_in(
    data_dir: Path | None = None, port: int = 0, webhook: tuple[str, str] | None = None
) -> Iterator[StandIn]:
    """Run a stand-in that ends with the block, or with this process, however it ends.

    `data_dir` keeps its file; without one everything stays in memory. Port 0 picks a free one.
    `webhook` is the address that its events go to, and the secret that they are signed with.

    Raises:
        StandInFailed: it ended, or said nothing for `START_SECONDS`.
    """
    keep = ["--memory"] if data_dir is None else ["--data", str(data_dir.absolute())]
    tell = ["--webhook", webhook[0], "--webhook-secret", webhook[1]] if webhook else []
    process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
        [
            sys.executable,
            "-m",
            "sandbox.stripe",
            "--port",
            str(port),
            "--until-stdin-closes",
            *keep,
            *tell,
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Ctrl-C is for the parent, which then ends this process in its own time.
        start_new_session=True,
    )
    try:
        yield StandIn(_wait_for_address(process), process.pid)
    finally:
        _end(process)


def _wait_for_address(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    line = process.stdout.readline().decode() if ready else ""
    if not line.startswith("listening on "):
        raise StandInFailed("the Stripe stand-in did not start")
    return line.removeprefix("listening on ").strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
