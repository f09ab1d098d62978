"""A wire to PostgreSQL that can be cut at the worst moment: between a COMMIT and its answer."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

QUERY = b"Q"  # the protocol's message of a simple query: its letter, four bytes of length, the text


class Wire:
    """Carries bytes both ways. Once `cut_at_commit` is set, the next COMMIT goes through, and what
    the server answers to it does not.
    """

    def __init__(self, host: str, port: int) -> None:
        self.server = (host, port)
        self.cut_at_commit = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=[client], daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        server = self._connect()
        cut = threading.Event()
        threading.Thread(target=self._carry_back, args=[server, client, cut], daemon=True).start()
        while sent := client.recv(65536):
            is_commit = sent[:1] == QUERY and sent[5:11].upper() == b"COMMIT"
            if is_commit and self.cut_at_commit.is_set():
                self.cut_at_commit.clear()
                cut.set()
            server.sendall(sent)
        server.close()

    def _carry_back(self, server: socket.socket, client: socket.socket, cut: Any) -> None:
        while answered := server.recv(65536):
            if cut.is_set():
                break
            client.sendall(answered)
        client.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> socket.socket:
        host, port = self.server
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server


@contextmanager
def connected_by_wire() -> Iterator[Wire]:
    """Have this thread's connection go over a wire for the length of the block."""
    connection.ensure_connection()
    wire = Wire(connection.connection.info.host, connection.connection.info.port)
    usual = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update(HOST="127.0.0.1", PORT=str(wire.port))
    try:
        yield wire
    finally:
        connection.close()
        connection.settings_dict.update(usual)
        wire.listener.close()
