"""`make start`: the whole demo, from an empty folder to an answering API, and its orderly end.

What the Procfile's processes need is prepared in this one process, because each further `manage.py`
would cost its own start-up time.
"""

import contextlib
import http.client
import os
import shutil
import socket
import time
from pathlib import Path
from types import FrameType

import django
from django.conf import settings

from sandbox import supervisor
from sandbox.demo import run_processes

ANSWER_WITHIN_SECONDS = 30

# In production a client has five minutes to retry before the completer does it, and a finished key
# is kept for three days; a killed worker's job is another's after five minutes. Whoever watches the
# demo has less time.
DEMO_PACE = {
    "COMPLETER_GRACE_SECONDS": "20",
    "COMPLETER_PAUSE_SECONDS": "10",
    "RETENTION_SECONDS": "600",
    "STOP_GRACE_SECONDS": "2",
    "JOB_LIMIT_SECONDS": "30",
}

WELCOME = """
API    curl -i -X POST {api}/rides -H "Authorization: user@example.com" \\
            -H "Idempotency-Key: $(openssl rand -hex 32)" \\
            -d origin_lat=0.0 -d origin_lon=0.0 -d target_lat=0.0 -d target_lon=0.0
Admin  {api}/admin/   {login}
Data   {data}   Ctrl-C ends everything; the data stays
"""


class Interrupted:
    """Whether a signal has asked to leave. A bare flag: the next signal may interrupt its handler,
    which must not hold a lock then.
    """

    asked = False


def interrupt(signum: int, frame: FrameType | None) -> None:
    """Leave, on the first signal; the ones after it find the end under way.

    It is noted too, because a library may swallow the exception in the middle of an import.
    """
    if not Interrupted.asked:
        Interrupted.asked = True
        raise KeyboardInterrupt


def run_demo() -> None:
    """Run the demo until SIGINT or SIGTERM.

    Raises: SystemExit, with the reason in one line when something that it needs is not to be had.
    """
    os.environ["DJANGO_SETTINGS_MODULE"] = "rocketrides.settings"  # whatever this shell worked on
    django.setup()
    # Only now: they import models.
    from sandbox.services import prepare_database, running_services, services_to_run

    with running_services():
        refuse_a_taken_port(settings.PORT)
        prepare_database()
    if Interrupted.asked:
        raise KeyboardInterrupt
    named = {**services_to_run(), **supervisor.commands()}
    run_processes(named, environment(), welcome, lambda: Interrupted.asked)


def refuse_a_taken_port(port: int) -> None:
    with socket.socket() as probe:
        # As a server does: a port whose last connections still linger is not taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            reason = f"Port {port} cannot be used: {error.strerror}"
            raise SystemExit(f"{reason}. Choose another: PORT=5001 make start") from None


def environment() -> dict[str, str]:
    """Return what the processes of the Procfile see: ours, and this Python's programs first."""
    page = f"http://127.0.0.1:{settings.PORT}/"
    own = supervisor.environment(PORT=str(settings.PORT), PAYMENT_RETURN_URL=page)
    return {**DEMO_PACE, "PROMETHEUS_MULTIPROC_DIR": empty_folder("metrics"), **own}


def empty_folder(name: str) -> str:
    """Return the path of a folder in `LOCAL_DIR`, with nothing of an earlier demo in it."""
    folder = Path(settings.LOCAL_DIR) / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return str(folder)


def login() -> str:
    """Return who can log in. The demo's people exist in the embedded database only."""
    if settings.EMBEDDED_POSTGRES:
        return "log in as admin@example.com, password rocket"
    return "its login was printed above once; add riders, each with a customer at Stripe"


def welcome() -> str:
    """Wait for the API's first answer, whatever it is, and say where to look."""
    deadline = time.monotonic() + ANSWER_WITHIN_SECONDS
    while time.monotonic() < deadline:
        api = http.client.HTTPConnection("127.0.0.1", settings.PORT, timeout=5)
        with contextlib.closing(api), contextlib.suppress(OSError, http.client.HTTPException):
            api.request("GET", "/rides")
            api.getresponse()
            api_url = f"http://127.0.0.1:{settings.PORT}"
            return WELCOME.format(api=api_url, login=login(), data=settings.LOCAL_DIR)
        time.sleep(0.05)
    return f"The API has not answered within {ANSWER_WITHIN_SECONDS} s; see its lines above\n"
