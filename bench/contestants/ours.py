"""The service itself: fresh rides, and the answers of finished keys again."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from bench import load
from bench.contestants.http import OverHTTP
from bench.contestants.service import service
from bench.load import Requests
from bench.world import Server, World

WITHOUT_DOOR = (
    "exec env DATABASE_POOL_SIZE=8 "
    "granian --interface wsgi rocketrides.wsgi:application --host 127.0.0.1 --port $PORT "
    "--workers 2 --blocking-threads 128 --http 1 --no-ws --workers-kill-timeout 2"
)
FINISHED = Requests("replay", "finished-before-the-benchmark", keys=100)


@contextmanager
def api(world: World) -> Iterator[Server]:
    """The API as the Procfile runs it, with `FINISHED` keys in its database."""
    with service(world, "ours") as server:
        for n in range(FINISHED.keys):
            load.send_one(f"{server.url}/rides", FINISHED, n).raise_for_status()
        yield server


def pinned_api(world: World) -> AbstractContextManager[Server]:
    """The same with a core for each of its processes, where the operator wants that."""
    return service(world, "pinned", PIN_WORKERS="true")


def api_without_door(world: World) -> AbstractContextManager[Server]:
    """The same under Granian's WSGI, where a thread waits for each client's bytes."""
    return service(world, "wsgi", command=WITHOUT_DOOR)


OURS = OverHTTP(name="ours", title="ours, fresh rides", starting=api, path="/rides")

OURS_PINNED = OverHTTP(
    name="ours-pinned",
    title="ours, a core for each process",
    starting=pinned_api,
    path="/rides",
    asks_stripe=False,
)

WSGI = OverHTTP(
    name="wsgi",
    title="ours without the door, under WSGI",
    starting=api_without_door,
    path="/rides",
)

REPLAYS = OverHTTP(
    name="replays",
    title="ours, replays of finished keys",
    starting=api,
    path="/rides",
    requests=lambda: FINISHED,
    asks_stripe=False,
)
