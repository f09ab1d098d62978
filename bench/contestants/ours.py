"""The service itself: fresh rides, and the answers of finished keys again."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench import database, load
from bench.contestants.http import OverHTTP
from bench.load import Requests
from bench.surroundings import procfile_command, serving
from bench.world import TEMPLATE, Server, World, production

DATABASE = "rocketrides_bench_ours"
DATABASE_WITHOUT_DOOR = "rocketrides_bench_wsgi"
WITHOUT_DOOR = (
    "exec env DATABASE_POOL_SIZE=8 PIN_WORKERS=true "
    "granian --interface wsgi rocketrides.wsgi:application --host 127.0.0.1 --port $PORT "
    "--workers 2 --blocking-threads 128 --http 1 --no-ws --workers-kill-timeout 2"
)
FINISHED = Requests("replay", "finished-before-the-benchmark", keys=100)


@contextmanager
def api(world: World) -> Iterator[Server]:
    """The API as the Procfile runs it, with `FINISHED` keys in its database."""
    with database.created(DATABASE, template=TEMPLATE) as url:
        variables = production(url, world.stand_in, settings="bench.service.settings")
        with serving(["sh", "-c", procfile_command("api")], variables) as (address, process):
            for n in range(FINISHED.keys):
                load.send_one(f"{address}/rides", FINISHED, n).raise_for_status()
            yield Server(DATABASE, address, process)


@contextmanager
def api_without_door(world: World) -> Iterator[Server]:
    """The same under Granian's WSGI, where a thread waits for each client's bytes."""
    with database.created(DATABASE_WITHOUT_DOOR, template=TEMPLATE) as url:
        variables = production(url, world.stand_in, settings="bench.service.settings")
        with serving(["sh", "-c", WITHOUT_DOOR], variables) as (address, process):
            yield Server(DATABASE_WITHOUT_DOOR, address, process)


OURS = OverHTTP(name="ours", title="ours, fresh rides", starting=api, path="/rides")

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
