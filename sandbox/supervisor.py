"""The one runner of processes: for the demo, the tests, the benchmarks and the proofs.

Each process has a session of its own, so that a signal reaches it with all its children and nothing
else. None outlives the program that started it, also where that was killed: a guardian ends them.
"""

import contextlib
import ctypes
import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from honcho.environ import parse_procfile

from rocketrides.environment import BASE_DIR
from sandbox import guardian

LOOK_AGAIN_SECONDS = 0.01
PATIENCE_SECONDS = 30.0
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Running:
    """A process with its children."""

    process: "subprocess.Popen[bytes]"

    def is_running(self) -> bool:
        return self.process.poll() is None

    def send(self, signum: signal.Signals) -> None:
        """Send a signal to all of it; one that has ended is passed over."""
        guardian.send(self.process.pid, signum)

    def freeze(self) -> None:
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """End everything at once, as a power cut would."""
        self.send(signal.SIGKILL)
        self._bury()

    def end(self, within_seconds: float = PATIENCE_SECONDS) -> None:
        """Ask it to end, and kill what is left of it after a while."""
        self.send(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(within_seconds)
        self.kill()

    def _bury(self) -> None:
        self.process.wait()
        _tell_guardian(-self.process.pid)


def start(
    command: Sequence[str | Path] | str,
    env: Mapping[str, str],
    *,
    cwd: Path = BASE_DIR,
    output: int | IO[Any] = subprocess.DEVNULL,
    **owner: Any,
) -> Running:
    """Start a program, or a line of shell such as the Procfile's.

    Args:
        output: where it writes, its errors too.
        owner: as whom it runs, as `subprocess.Popen` takes it.
    """
    process = subprocess.Popen(  # noqa: S603
        ["sh", "-c", command] if isinstance(command, str) else command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **owner,
    )
    _tell_guardian(process.pid)
    return Running(process)


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment, with this Python's programs first, and `variables`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **variables}


def commands(procfile: Path = BASE_DIR / "Procfile") -> dict[str, str]:
    """Return the command of each of a Procfile's processes."""
    return dict(parse_procfile(procfile.read_text()).processes)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Look until a condition holds: for what another process does and says to nobody.

    Raises: AssertionError, where it has not after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{condition} did not hold within {seconds} s"
        time.sleep(LOOK_AGAIN_SECONDS)


def end_with_parent() -> None:
    """Have SIGTERM sent to this process when its parent has ended (prctl(2); Linux only)."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


_telling = threading.Lock()


def _tell_guardian(number: int) -> None:
    with _telling:
        pipe = _guardian(os.getpid()).stdin
        assert pipe is not None
        pipe.write(f"{number}\n".encode())
        pipe.flush()


@functools.cache
def _guardian(pid: int) -> "subprocess.Popen[bytes]":
    """Start the guardian of this process; a forked one has another, by its pid."""
    script = [sys.executable, "-I", "-S", guardian.__file__]
    return subprocess.Popen(script, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603
