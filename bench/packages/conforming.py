"""`python -m bench.packages.conforming`: the conformance tool's report on each package.

Django's packages serve the shop of `bench.packages`; FastAPI's serves the same, in `on_fastapi`.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.core.wsgi import get_wsgi_application

from bench.packages.__main__ import FORK, set_up
from bench.packages.arrangements import ARRANGEMENTS, Arrangement
from idempotency.conformance.asking import Api
from idempotency.conformance.reports import as_text, ask_all

ASKED = (
    "drf-idempotency, decorator",
    "drf-idempotencykey",
    "django-idempotency-key",
    "@idempotent",
)


def main() -> None:
    for arrangement in ARRANGEMENTS:
        if arrangement.name in ASKED:
            run(ask_django, arrangement)
    run(ask_fastapi)


def run(*work: object) -> None:
    process = FORK.Process(target=work[0], args=work[1:])  # type: ignore[arg-type]
    process.start()
    process.join()


def ask_django(arrangement: Arrangement) -> None:
    set_up(arrangement)
    with serving() as url:
        report(arrangement.name, url)


def ask_fastapi() -> None:
    """Serve as the package's README has it, with its backend in a file."""
    import uvicorn

    from bench.packages.on_fastapi import app

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        threading.Thread(target=server.run, args=([listening],), daemon=True).start()
        while not server.started:
            time.sleep(0.05)
        report("fastapi-idempotency-key", f"http://127.0.0.1:{listening.getsockname()[1]}")
        server.should_exit = True


def report(name: str, url: str) -> None:
    payments = f"{url}/payments"
    clients = {"Authorization": "ann"}, {"Authorization": "bob"}
    found = ask_all(Api(payments, {"amount": 7}, {"amount": 8}, *clients, counted_at=payments))
    print(f"\n{name}\n{as_text(found)}", end="", flush=True)


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    app = get_wsgi_application()
    with make_server("127.0.0.1", 0, app, server_class=Server, handler_class=Quiet) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


if __name__ == "__main__":
    main()
