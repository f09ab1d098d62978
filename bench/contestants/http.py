"""A contestant that is asked over HTTP, by wrk."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass

from bench import load
from bench.load import Answers, Requests
from bench.world import Missing, Server, Starting, World


@dataclass(frozen=True, kw_only=True)
class OverHTTP:
    """`requests` makes what is sent in one run."""

    name: str
    title: str
    starting: Starting
    path: str
    requests: Callable[[], Requests] = load.fresh
    asks_stripe: bool = True
    expected: str = "201"

    def server(self, world: World) -> Server:
        """Raises: Missing."""
        if not shutil.which("wrk"):
            raise Missing("wrk, the load generator, is not installed (Debian's package wrk)")
        return world.server(self.starting)

    def load(self, server: Server, *, clients: int, latency_ms: int, seconds: int) -> Answers:
        return load.send(server.url + self.path, self.requests(), clients=clients, seconds=seconds)

    def ask(self, server: Server, times: int) -> None:
        what = self.requests()
        for n in range(times):
            answer = load.send_one(server.url + self.path, what, n)
            assert str(answer.status_code) == self.expected, answer.text
