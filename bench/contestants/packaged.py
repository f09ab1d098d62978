"""The same ride with django-idempotency-key, as far as it goes (`service/packaged.py`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from bench import database
from bench.contestants.http import OverHTTP
from bench.surroundings import manage, procfile_command, serving
from bench.world import TEMPLATE, Missing, Server, World, production

DATABASE = "rocketrides_bench_packaged"


@contextmanager
def packaged_api(world: World) -> Iterator[Server]:
    """The Procfile's `api` with other settings. Raises: Missing."""
    if not find_spec("idempotency_key"):
        raise Missing("django-idempotency-key is not installed here; `make bench` installs it")
    with database.created(DATABASE, template=TEMPLATE) as url:
        variables = production(url, world.stand_in, settings="bench.service.packaged_settings")
        manage(variables, "createcachetable")
        with serving(["sh", "-c", procfile_command("api")], variables) as (address, process):
            yield Server(DATABASE, address, process)


PACKAGED = OverHTTP(
    name="packaged", title="django-idempotency-key", starting=packaged_api, path="/rides"
)
