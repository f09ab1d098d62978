"""The Procfile's processes under honcho, with what a demo wants besides.

Honcho ends everything when one process dies, and leaves everything running when it is killed
itself. Here a process that dies is started again, and none outlives the program that started it.
"""

import contextlib
import functools
import itertools
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from honcho.environ import parse_procfile
from honcho.manager import Manager
from honcho.printer import Message
from honcho.process import Process

CHECK_EVERY_SECONDS = 0.2
RESTART_AFTER_SECONDS = (1, 2, 4, 8)  # then always the last
END_WITHIN_SECONDS = 4  # the stand-in and PostgreSQL follow, and all is to end within five


def run_procfile(
    procfile: Path, besides: dict[str, str], env: dict[str, str], welcome: Callable[[], str]
) -> None:
    """Run the processes of `procfile`, and others `besides`, until SIGINT or SIGTERM; print
    `welcome()` once they run.
    """
    supervisor = Supervisor(welcome)
    named = {**besides, **parse_procfile(procfile.read_text()).processes}
    for name, command in named.items():
        supervisor.add_process(name, command, env=env, cwd=procfile.parent)
    try:
        supervisor.loop()
    finally:
        supervisor.terminate()  # if the loop failed, on a closed terminal for example


class Lifeline:
    """A pipe whose one end the supervisor holds: closed by it, or by its death, all processes end.

    Nothing in it can be left half done by a signal or a kill, as a lock that is shared could.
    """

    def __init__(self) -> None:
        self._ours, self._supervisors = os.pipe()
        self._is_cut = False

    def cut(self) -> None:
        """Tell the processes to end; in one of them: leave the supervisor's end to it alone."""
        if not self._is_cut:
            self._is_cut = True
            os.close(self._supervisors)

    def is_cut_within(self, seconds: float) -> bool:
        return bool(select.select([self._ours], [], [], seconds)[0])


class Supervisor(Manager):
    """Honcho's manager, of processes that stay until it is told to end."""

    def __init__(self, welcome: Callable[[], str]) -> None:
        super().__init__()
        self._welcome = welcome
        self._lifeline = Lifeline()
        self._process_ctor = functools.partial(ResidentProcess, lifeline=self._lifeline)

    def terminate(self) -> None:
        """Tell the processes to end. Honcho calls it on SIGINT and SIGTERM, in the handler.

        Honcho's own way needs every process id, and fails on a signal that comes before them.
        """
        self._lifeline.cut()

    def _system_print(self, data: str) -> None:
        """Say nothing from a signal's handler, which may have interrupted another line."""
        if not data.endswith(" received\n"):
            super()._system_print(data)

    def _start(self) -> None:
        super()._start()
        # After the processes are forked, which a second thread would make unsafe.
        threading.Thread(target=self._print_welcome, daemon=True).start()

    def _print_welcome(self) -> None:
        # Not through honcho's printer, whose prefix would be in the way of copying a command.
        sys.stdout.write(self._welcome())
        sys.stdout.flush()


class ResidentProcess(Process):
    """A process that is started again when it dies, and ends when told to or when orphaned.

    Honcho runs each in a process of its own, which starts the command as a process group.
    """

    _child: subprocess.Popen[bytes] | None
    _buried: subprocess.Popen[bytes] | None = None

    def __init__(self, cmd: str, *, lifeline: Lifeline, **options: Any) -> None:
        super().__init__(cmd, **options)
        self._lifeline = lifeline

    def run(self, events: "Queue[Message] | None" = None, ignore_signals: bool = False) -> None:
        os.setsid()  # whoever kills our parent's whole group leaves us to end the child
        self._lifeline.cut()
        threading.Thread(target=self._watch, args=[os.getppid()], daemon=True).start()
        last = RESTART_AFTER_SECONDS[-1]
        for pause in itertools.chain(RESTART_AFTER_SECONDS, itertools.repeat(last)):
            super().run(events, ignore_signals)
            if self._lifeline.is_cut_within(0):
                break
            self._send_message(f"ended; it is started again in {pause} s\n")
            if self._lifeline.is_cut_within(pause):
                break
        super()._send_message({"returncode": 0}, type="stop")

    def _send_message(self, data: Any, type: str = "line") -> None:
        # Honcho ends everything on the first "stop", so `run` sends it when all has to end.
        if type != "stop":
            super()._send_message(data, type)

    def _watch(self, parent_pid: int) -> None:
        while not self._lifeline.is_cut_within(CHECK_EVERY_SECONDS):
            if self._child and self._child.poll() is not None:
                # What a killed leader leaves holds its output open, and its port.
                self._signal(signal.SIGKILL)
                self._buried = self._child
        self._signal(signal.SIGTERM)
        time.sleep(END_WITHIN_SECONDS)
        self._signal(signal.SIGKILL)
        if os.getppid() != parent_pid:
            os._exit(1)  # nobody reads what is still to be sent, and the end would wait for that

    def _signal(self, signum: signal.Signals) -> None:
        if self._child and self._child is not self._buried:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signum)
