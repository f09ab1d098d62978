"""Something else than Stripe that answers: what a proxy says, or a Stripe of another day."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rides.models import Ride
from rides.payments.keys import marks_of

Say = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def answering_with(say: Say) -> Iterator[str]:
    """A server that answers every request by `say`, and its address."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def do_GET(self) -> None:
            say(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def saying(status: int, body: bytes, **headers: str) -> Say:
    def say(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return say


def intent(ride: Ride | None = None, **fields: object) -> bytes:
    """A payment of a ride's fare as Stripe shows it, but for `fields`; without a ride, of another
    request's.
    """
    usual = {
        "id": "pi_1",
        "object": "payment_intent",
        "status": "succeeded",
        "amount": 2000,
        "amount_received": 2000,
        "currency": "usd",
        "customer": ride and ride.stripe_customer_id,
        "latest_charge": "ch_1",
        "metadata": marks_of(ride) if ride else {},
    }
    return json.dumps({**usual, **fields}).encode()
