"""The service as a contestant starts it: on a database of its own, with variables of its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench import database
from bench.processes import manage, serving
from bench.world import TEMPLATE, Server, World, production
from sandbox import supervisor

SETTINGS = "bench.service.settings"


@contextmanager
def service(
    world: World,
    name: str,
    *,
    command: str | None = None,
    settings: str = SETTINGS,
    prepared_by: Sequence[str] = (),
    **variables: str,
) -> Iterator[Server]:
    """The API on the database `rocketrides_bench_{name}`.

    Args:
        command: in place of the Procfile's.
        prepared_by: arguments of `manage.py`, run before it.
    """
    name = f"rocketrides_bench_{name}"
    with database.created(name, template=TEMPLATE) as url:
        environment = production(url, world.stand_in, settings=settings) | variables
        if prepared_by:
            manage(environment, *prepared_by)
        line = command or supervisor.commands()["api"]
        with serving(["sh", "-c", line], environment) as (address, process):
            yield Server(name, address, process)
