"""Real enqueuers and workers, without the half second that each takes to start up.

One process does the start-up and forks a child for each line that it reads, so that a test can
kill them by the hundred. Run as a program it is that process; `Forker` is the test's end of it.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from rocketrides.environment import BASE_DIR

CONNECTED_WORKER = "worker whose parent has a connection"
PARENT = "the parent"


class Forker:
    """Starts processes, and knows which of them run."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.running: set[int] = set()

    def start(self, command: str) -> int:
        """Start an enqueuer or a worker, and return its process id."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        self.running.add(pid)
        return pid

    def kill(self, pid: int) -> None:
        """End it with all its children, as a power cut would."""
        for process in family(pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.running.discard(pid)

    def freeze(self, pid: int) -> None:
        for process in family(pid):
            process.suspend()

    def thaw(self, pid: int) -> None:
        for process in family(pid):
            process.resume()

    def whose_is(self, port: int) -> int:
        """Return the id of the process at whose end, or its children's, a connection has a port."""
        for pid in self.running:
            for process in family(pid):
                if any(found.laddr.port == port for found in process.net_connections()):
                    return pid
        raise AssertionError(f"no child of the forker is connected from port {port}")


def family(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


@contextlib.contextmanager
def running_forker(environment: dict[str, str], log: Path) -> Iterator[Forker]:
    """A forker whose children all end with the block; their log lines go to `log`."""
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=BASE_DIR,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield Forker(process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    import django

    django.setup()

    import rides.tasks  # noqa: F401 - what each child would otherwise import

    if "CELERY_BROKER_URL" in os.environ:
        import rocketrides.celery  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if pid := os.fork():
            sys.stdout.write(f"{pid}\n")
            sys.stdout.flush()
        else:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # Celery greets
            run(line.strip())
            os._exit(0)
    # The test is gone, however it ended: so are its processes.
    os.killpg(0, signal.SIGKILL)


def run(what: str) -> None:
    """As the documentation says: an enqueuer, or the worker of the queue that is configured."""
    from django.core.management import call_command

    if what == "enqueuer":
        call_command("enqueuer", skip_checks=True)
    elif "CELERY_BROKER_URL" in os.environ:
        from celery.signals import worker_before_create_process

        from rocketrides.celery import app

        if what == CONNECTED_WORKER:
            worker_before_create_process.connect(connect_as_parent)
        # RabbitMQ lets no second worker in that has the name of another.
        name = f"--hostname=worker-{os.getpid()}@%h"
        quick_start = ["--without-gossip", "--without-mingle"]
        pool = f"--pool={os.environ['WORKER_POOL']}"
        app.worker_main(["--quiet", "worker", name, pool, "--concurrency=1", *quick_start])
    else:
        call_command(
            "db_worker",
            queue_name="*",
            interval=0.1,
            startup_delay=False,
            reload=False,
            verbosity=0,
            skip_checks=True,
        )


def connect_as_parent(**_: object) -> None:
    """Just before it forks: what Celery's worker had open when it began, it has closed."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"SET application_name = '{PARENT}'")


if __name__ == "__main__":
    main()
