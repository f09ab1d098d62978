"""The service itself: fresh rides, and the answers of finished keys again."""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil  # type: ignore[import-untyped]

from bench import database, load
from bench.contestants.http import OverHTTP
from bench.load import Requests
from bench.surroundings import environment, procfile_command, serving
from bench.world import TEMPLATE, Server, World

DATABASE = "rocketrides_bench_ours"
FINISHED = Requests("replay", "finished-before-the-benchmark", keys=300)


@contextmanager
def api(world: World) -> Iterator[Server]:
    """The API as the Procfile runs it, with `FINISHED` keys in its database."""
    with database.created(DATABASE, template=TEMPLATE) as url:
        variables = environment(url, world.stand_in) | {
            "DJANGO_SETTINGS_MODULE": "bench.service.settings",
            "DEBUG": "false",
            "SECRET_KEY": "for-the-benchmark-only" + "x" * 40,
            "ALLOWED_HOSTS": "127.0.0.1",
        }
        with serving(["sh", "-c", procfile_command("api")], variables) as (address, pid):
            for n in range(FINISHED.keys):
                load.send_one(f"{address}/rides", FINISHED, n).raise_for_status()
            yield Server(DATABASE, address, psutil.Process(pid))


OURS = OverHTTP(name="ours", title="ours, fresh rides", starting=api, path="/rides")

REPLAYS = OverHTTP(
    name="replays",
    title="ours, replays of finished keys",
    starting=api,
    path="/rides",
    requests=lambda: FINISHED,
    asks_stripe=False,
)
