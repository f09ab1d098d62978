"""The till, a server of its own: `python till.py 8001`. It is paid once for each Idempotency-Key.

`GET /ledger` lists the payments. `PUT /pace {"before": 5, "after": 5}` has a payment take so many
seconds before it is made, and before it is answered; `GET /pace` says how many were ordered.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

LIMIT_CENTS = 5000

payments = {}
pace = {"before": 0, "after": 0, "ordered": 0}
lock = Lock()


def pay(key, amount_cents):
    if amount_cents > LIMIT_CENTS:
        return 402, {"error": "The card's limit is lower."}
    with lock:
        payment = {"id": f"payment-{len(payments) + 1}", "amount_cents": amount_cents}
        return 200, payments.setdefault(key, payment)


class Till(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.read()
        pace["ordered"] += 1
        time.sleep(pace["before"])
        answer = pay(self.headers["Idempotency-Key"], **body)
        time.sleep(pace["after"])
        self.say(*answer)

    def do_GET(self):
        self.say(200, pace if self.path == "/pace" else list(payments.values()))

    def do_PUT(self):
        pace.update(self.read())
        self.say(200, pace)

    def read(self):
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def say(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Till).serve_forever()
