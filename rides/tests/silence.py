"""A server that goes without a word: no FIN, no RST, as when its host is suspended or a route lost.

A relay to the test database listens in a network namespace of its own. What it sends over the
connections of one moment is then dropped by the kernel, and new connections work.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RELAY_PORT = 5432
NAMESPACE = f"silence-{os.getpid()}"
NEAR, FAR = f"near{os.getpid()}", f"far{os.getpid()}"
NETWORK = f"10.231.{os.getpid() % 250}"  # so that two runs have two
ESTABLISHED = "01"

WHY_NOT = (
    "only root can make a network namespace to drop packets in, by Debian's iproute2"
    if os.geteuid() or not shutil.which("ip")
    else ""
)

RELAY = """
import asyncio, sys

async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

async def relay(reader, writer):
    server = await asyncio.open_unix_connection(sys.argv[2])
    await asyncio.gather(pump(reader, server[1]), pump(server[0], writer), return_exceptions=True)

async def main():
    listener = await asyncio.start_server(relay, sys.argv[1], 5432)
    print("listening", flush=True)
    await listener.serve_forever()

asyncio.run(main())
"""


@dataclass(frozen=True)
class Relay:
    """The way to the database that can fall silent."""

    host: str = f"{NETWORK}.2"

    def fall_silent(self) -> int:
        """Drop what is sent over the connections of this moment; return how many those are."""
        ports = list(self._ports_of_clients())
        for port in ports:
            ip("-n", NAMESPACE, "rule", "add", "ipproto", "tcp", "dport", str(port), "blackhole")
        return len(ports)

    def _ports_of_clients(self) -> Iterator[int]:
        """From proc_net_tcp(5): the local ports of connections to the relay."""
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, remote, state = line.split()[:4]
            if remote.endswith(f":{RELAY_PORT:04X}") and state == ESTABLISHED:
                yield int(local.rpartition(":")[2], 16)


@contextlib.contextmanager
def relay_that_can_fall_silent(socket: Path) -> Iterator[Relay]:
    """A relay to the server behind a Unix socket."""
    with network(), listening(socket):
        yield Relay()


@contextlib.contextmanager
def network() -> Iterator[None]:
    ip("netns", "add", NAMESPACE)
    ip("link", "add", NEAR, "type", "veth", "peer", "name", FAR, "netns", NAMESPACE)
    try:
        ip("addr", "add", f"{NETWORK}.1/30", "dev", NEAR)
        ip("link", "set", NEAR, "up")
        ip("-n", NAMESPACE, "addr", "add", f"{NETWORK}.2/30", "dev", FAR)
        ip("-n", NAMESPACE, "link", "set", FAR, "up")
        yield
    finally:
        # By itself it would go when the connections that were silenced do, minutes later.
        ip("link", "del", NEAR)
        ip("netns", "del", NAMESPACE)


@contextlib.contextmanager
def listening(socket: Path) -> Iterator[None]:
    command = ["ip", "netns", "exec", NAMESPACE, sys.executable, "-c", RELAY]
    process = subprocess.Popen(
        [*command, f"{NETWORK}.2", str(socket)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "listening\n"
        yield
    finally:
        process.kill()
        process.wait()


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
