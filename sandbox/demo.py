"""The demo's processes: the Procfile's, and those beside them. One that exits is started again.

Their lines are printed with a time and a name. They end at a signal, or when nobody reads
what is printed any more.
"""

import contextlib
import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import datetime

from sandbox import supervisor
from sandbox.supervisor import Running

RESTART_AFTER_SECONDS = (1, 2, 4, 8)  # then always the last
LOOK_AGAIN_SECONDS = 0.5
END_WITHIN_SECONDS = 4  # the stand-in and PostgreSQL follow, and all is to end within five


def run_processes(
    commands: Mapping[str, str],
    env: Mapping[str, str],
    welcome: Callable[[], str],
    was_asked_to_end: Callable[[], bool],
) -> None:
    """Run commands by their names until SIGINT or SIGTERM; print `welcome()` once they run.

    Args:
        was_asked_to_end: asked each half second, since the exception of the signal may have been
            raised where it is swallowed, such as in a destructor.
    """
    ending = threading.Event()
    lines = Lines(max(map(len, commands)), ending)
    residents = [Resident(name, line, env, lines, ending) for name, line in commands.items()]
    try:
        for resident in residents:
            resident.start()
        threading.Thread(target=lambda: lines.print(welcome()), daemon=True).start()
        while not (ending.wait(LOOK_AGAIN_SECONDS) or was_asked_to_end()):
            pass
    except KeyboardInterrupt:
        pass
    finally:
        ending.set()
        end(residents)


def end(residents: "list[Resident]") -> None:
    """Ask all at once, and kill what is left after a while."""
    enders = [threading.Thread(target=resident.end) for resident in residents]
    for ender in enders:
        ender.start()
    for ender in enders:
        ender.join()


class Lines:
    """Standard output, which several threads write whole lines to."""

    def __init__(self, width: int, ending: threading.Event) -> None:
        self._width = width
        self._ending = ending
        self._lock = threading.Lock()

    def say(self, name: str, line: str) -> None:
        self.print(f"{datetime.now():%H:%M:%S} {name:<{self._width}} | {line}\n")  # noqa: DTZ005

    def print(self, text: str) -> None:
        try:
            with self._lock:
                sys.stdout.write(text)
                sys.stdout.flush()
        except OSError:  # the terminal is closed
            self._ending.set()


class Resident(threading.Thread):
    """A process that is started again when it exits, until all has to end."""

    def __init__(
        self,
        name: str,
        command: str,
        env: Mapping[str, str],
        lines: Lines,
        ending: threading.Event,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._command = command
        self._env = env
        self._lines = lines
        self._ending = ending
        self._starting = threading.Lock()
        self._running: Running | None = None

    def run(self) -> None:
        last = RESTART_AFTER_SECONDS[-1]
        for pause in itertools.chain(RESTART_AFTER_SECONDS, itertools.repeat(last)):
            self._run_once()
            if self._ending.is_set():
                return
            self._lines.say(self.name, f"ended; it is started again in {pause} s")
            if self._ending.wait(pause):
                return

    def end(self) -> None:
        with self._starting:
            running = self._running
        if running:
            running.end(END_WITHIN_SECONDS)

    def _run_once(self) -> None:
        with self._starting:
            if self._ending.is_set():
                return
            self._running = supervisor.start(self._command, self._env, output=subprocess.PIPE)
        reader = threading.Thread(target=self._read, args=[self._running], daemon=True)
        reader.start()
        self._running.process.wait()
        self._running.kill()  # what a killed leader leaves holds its output open, and its port
        reader.join()

    def _read(self, running: Running) -> None:
        assert running.process.stdout is not None
        with contextlib.closing(running.process.stdout) as output:
            for line in output:
                self._lines.say(self.name, line.decode(errors="replace").rstrip("\n"))
