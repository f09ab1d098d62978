"""A contestant that is asked over HTTP, by wrk."""

from collections.abc import Callable
from dataclasses import dataclass

from bench import load
from bench.load import Answers, Requests
from bench.world import Server, Starting, World


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
    load_generator: str = "wrk"

    def server(self, world: World) -> Server:
        """Raises: Missing."""
        return world.server(self.starting)

    def load(self, server: Server, *, clients: int, latency_ms: int, seconds: int) -> Answers:
        what = self.requests()
        answers = load.send(server.url + self.path, what, clients=clients, seconds=seconds)
        if what.kind == "replay":
            assert answers.replayed == answers.statuses.get(self.expected, 0), "all are replays"
        return answers

    def ask(self, server: Server, times: int) -> None:
        what = self.requests()
        for n in range(times):
            answer = load.send_one(server.url + self.path, what, n)
            assert str(answer.status_code) == self.expected, answer.text
