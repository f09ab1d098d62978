"""The two partners, each a server of its own: `python partner_servers.py 8001 8002`.

`GET /ledger` lists what was booked. `PUT /pace {"before": 5, "after": 5}` has what is ordered take
so many seconds before it is done, and before it is answered; `GET /pace` says how much was ordered.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread


class Rooms:
    """Books once for each Idempotency-Key, and nothing more for one that was cancelled."""

    def __init__(self):
        self.bookings = {}

    def answer(self, method, name, body, key):
        if method == "GET":
            return 200, list(self.bookings.values())
        if method == "DELETE":
            self.bookings[name] = {**self.bookings.get(name, {}), "status": "cancelled"}
            return 200, {}
        if body["room"] == "Attic":
            return 409, {"error": "There is a leak in the roof."}
        booking = {"id": f"room-{len(self.bookings) + 1}", "room": body["room"], "status": "booked"}
        kept = self.bookings.setdefault(key, booking)
        return (200 if kept["status"] == "booked" else 409), kept


class Flights:
    """Sells a ticket with each call, and nothing more for a reference that was voided."""

    def __init__(self):
        self.tickets = []
        self.voided = set()

    def answer(self, method, name, body, key):
        if method == "GET":
            return 200, [t for t in self.tickets if name in ("ledger", t["reference"])]
        if method == "DELETE":
            self.voided.add(name)
            self.tickets = [t for t in self.tickets if t["reference"] != name]
            return 200, {}
        if body["flight"] == "FULL1" or body["reference"] in self.voided:
            return 409, {"error": "There is no seat."}
        self.tickets.append({"id": f"ticket-{len(self.tickets) + 1}", **body})
        return 200, self.tickets[-1]


def serve(partner, port):
    lock = Lock()
    pace = {"before": 0, "after": 0, "ordered": 0}

    class Handler(BaseHTTPRequestHandler):
        def do(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "{}")
            name, key = self.path.rpartition("/")[2], self.headers["Idempotency-Key"]
            if name == "pace":
                pace.update(body)
                self.say(200, pace)
            elif self.command == "POST":
                pace["ordered"] += 1
                time.sleep(pace["before"])
                answer = self.ask(name, body, key)
                time.sleep(pace["after"])
                self.say(*answer)
            else:
                self.say(*self.ask(name, body, key))

        def ask(self, *words):
            with lock:
                return partner.answer(self.command, *words)

        do_GET = do_POST = do_PUT = do_DELETE = do  # noqa: N815 - names of http.server

        def say(self, status, body):
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    Thread(target=ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever).start()


if __name__ == "__main__":
    rooms_port, flights_port = map(int, sys.argv[1:])
    serve(Flights(), flights_port)
    serve(Rooms(), rooms_port)
