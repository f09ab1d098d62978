"""The service itself: fresh rides, and the answers of finished keys again."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench import database, load
from bench.contestants.http import OverHTTP
from bench.load import Requests
from bench.surroundings import procfile_command, serving
from bench.world import TEMPLATE, Server, World, production

DATABASE = "rocketrides_bench_ours"
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


OURS = OverHTTP(name="ours", title="ours, fresh rides", starting=api, path="/rides")

REPLAYS = OverHTTP(
    name="replays",
    title="ours, replays of finished keys",
    starting=api,
    path="/rides",
    requests=lambda: FINISHED,
    asks_stripe=False,
)
