"""A proxy before the service that can lose its answers: requests arrive, nothing comes back."""

import contextlib
import socket
import threading
from collections.abc import Iterator

from sandbox.supervisor import PATIENCE_SECONDS

PIECE = 65536


class DroppingProxy:
    """Forwards bytes between a browser and the service, one thread a direction.

    While `is_dropping`, it closes a connection at the first byte of an answer.
    """

    def __init__(self, port: int) -> None:
        self._service_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.is_dropping = False
        self.dropped = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        service = socket.create_connection(("127.0.0.1", self._service_port), PATIENCE_SECONDS)
        with client, service:
            asking = threading.Thread(target=forward, args=[client, service], daemon=True)
            asking.start()
            with contextlib.suppress(OSError):
                while piece := service.recv(PIECE):
                    if self.is_dropping:
                        self.dropped += 1
                        break
                    client.sendall(piece)
                client.shutdown(socket.SHUT_RDWR)  # closing does not end what the other reads


def forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            target.sendall(piece)


@contextlib.contextmanager
def dropping_proxy(port: int) -> Iterator[DroppingProxy]:
    """Run a proxy before the service at a port."""
    proxy = DroppingProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
