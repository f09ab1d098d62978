import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

bookings = {}  # what was booked under a key, or that it is cancelled


class Provider(BaseHTTPRequestHandler):
    def do_POST(self):
        """Book once for each key, unless it was cancelled before. Nobody flies to Atlantis."""
        what = self.rfile.read(int(self.headers["Content-Length"])).decode()
        key = self.headers["Idempotency-Key"]
        if what == "flight to Atlantis" or bookings.setdefault(key, what) != what:
            return self.answer(409, "")
        return self.answer(200, key)

    def do_DELETE(self):
        """Cancel what was booked under a key; a booking that is still on its way is refused."""
        bookings[self.headers["Idempotency-Key"]] = "cancelled"
        self.answer(200, "")

    def do_GET(self):
        self.answer(200, "\n".join(sorted(w for w in bookings.values() if w != "cancelled")))

    def answer(self, status, text):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Provider).serve_forever()
