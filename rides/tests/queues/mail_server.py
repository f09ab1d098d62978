"""A real mail server, in a thread, that can act in the middle of a delivery.

It is the tests' handle on a worker in the middle of a job: nothing of the receipt is written before
the mail was accepted.
"""

import contextlib
import socketserver
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from threading import Thread


class Moment(Enum):
    """Where a delivery stands."""

    OFFERED = "before the e-mail"
    ACCEPTED = "after the e-mail, before settling"


Act = Callable[[Moment, str, int], bool]
"""Told the moment, the recipient and the client's port. Returns whether to go on."""


@dataclass
class MailServer:
    """What it accepted, by recipient, and what it does meanwhile."""

    url: str
    accepted: Counter[str] = field(default_factory=Counter)
    act: Act = lambda moment, recipient, port: True


@contextlib.contextmanager
def running_mail_server() -> Iterator[MailServer]:
    class Conversation(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            # A client that was killed does not read its answer.
            with contextlib.suppress(ConnectionError):
                self.converse()

        def converse(self) -> None:
            port = self.client_address[1]
            self.say(b"220 at your service")
            while line := self.rfile.readline():
                verb, _, rest = line.decode().strip().partition(" ")
                if verb.upper() == "RCPT":
                    recipient = rest[rest.index("<") + 1 : rest.index(">")]
                    if not server.act(Moment.OFFERED, recipient, port):
                        return
                if verb.upper() == "DATA":
                    self.say(b"354 go on")
                    while self.rfile.readline() not in (b".\r\n", b""):
                        pass
                    server.accepted[recipient] += 1
                    if not server.act(Moment.ACCEPTED, recipient, port):
                        return
                self.say(b"221 bye" if verb.upper() == "QUIT" else b"250 fine")

        def say(self, line: bytes) -> None:
            self.wfile.write(line + b"\r\n")

    class Listener(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Listener(("127.0.0.1", 0), Conversation) as listener:
        server = MailServer(f"smtp://127.0.0.1:{listener.server_address[1]}")
        Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        listener.shutdown()
